"""Images and containers by podman, apart from whatever else the machine has of them: own store, own networks.

The base image is made of Debian's own packages (debootstrap), from the mirror that this machine's apt uses, and kept in the
cache of packages.py; so nothing here needs an image registry, and a pass says that the Dockerfile's steps work on Debian 12,
not that the published image was pulled.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile

import packages

NEEDED = ("podman", "buildah", "runc", "debootstrap", "iptables")
BASE = "localhost/millrace-base:12"


def missing():
    """Why no image can be made here; None: nothing."""
    if os.geteuid() != 0:
        return "making a base image needs root"
    absent = [name for name in NEEDED if shutil.which(name) is None and not pathlib.Path(f"/usr/sbin/{name}").exists()]
    return f"{', '.join(absent)} not installed" if absent else None


def forbidden(engine):
    """Why this machine runs no container, as one inside another container that may not; None: it does."""
    done = engine.run("podman", "run", "--rm", "--pull=never", "--network", "none", BASE, "true", check=False, seconds=120)
    return None if done.returncode == 0 else f"podman runs no container here: {done.stderr.strip()[-300:]}"


def mirror():
    """The first archive of this machine's apt."""
    told = subprocess.run(["apt-get", "indextargets", "--format", "$(SITE)"], capture_output=True, text=True, check=True)
    return told.stdout.split()[0]


def base():
    """A tar file of a minimal Debian 12."""
    folder = packages.CACHE / "debian-12-base"
    made = folder / "base.tar"
    if made.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root = pathlib.Path(scratch) / "root"
        with packages.Progress("debian-12-base") as progress:
            packages.run(progress, "debootstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", root, mirror())
        for waste in [*root.glob("var/cache/apt/archives/*.deb"), *root.glob("var/lib/apt/lists/*_*")]:
            waste.unlink()
        (root / "etc/resolv.conf").write_text("")
        subprocess.run(["tar", "-C", root, "--numeric-owner", "-cf", folder / "base.part", "."], check=True)
    (folder / "base.part").rename(made)
    return made


class Engine:
    """podman with a store in `folder`, for machines without systemd and with low limits too."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        (self.folder / "networks").mkdir(parents=True)
        (self.folder / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:4096", "nproc=1024:2048"]\n'
            '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
            f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{self.folder}/networks"\n')
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder}/store"\nrunroot = "{self.folder}/run"\n')
        self.environment = {**os.environ, "CONTAINERS_CONF": f"{self.folder}/containers.conf",
                            "CONTAINERS_STORAGE_CONF": f"{self.folder}/storage.conf", "DISABLE_HC_SYSTEMD": "true",
                            "BUILDAH_FORMAT": "docker", "BUILDAH_ISOLATION": "chroot", "BASE": BASE}
        self.run("podman", "import", "--change", 'CMD ["bash"]', base(), BASE)

    def run(self, *command, check=True, seconds=600, **options):
        """What it printed; an error says what it said."""
        done = subprocess.run([*map(str, command)], env=self.environment, cwd=options.pop("cwd", self.folder), text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, **options)
        if check and done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n"
                               f"{done.stdout[-1000:]}{done.stderr[-3000:]}")
        return done.stdout if check else done

    def end(self):
        self.run("podman", "rm", "-af", "-t", "0", check=False)
        self.run("podman", "volume", "rm", "-af", check=False)
        self.run("podman", "rmi", "-af", check=False)
        for network in self.run("podman", "network", "ls", "-q", check=False).stdout.split():
            if network != "podman":
                self.run("podman", "network", "rm", "-f", network, check=False)
