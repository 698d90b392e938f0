"""What the genuine systems are made of, and how it comes onto this machine: jars by Maven, wheels by pip.

Everything lies in one cache folder, a folder a package whose name holds its version and a digest of its recipe: another
recipe is another folder, and a folder that is there is whole. Two installers wait for each other.
"""
import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from xml.sax.saxutils import escape

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("MILLRACE_REAL_CACHE") or
                     pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "millrace" / "real")
PROGRESS_SECONDS = 5
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin"

KAFKA, KAFKA_4, KAFKA_42 = "3.9.1", "4.1.1", "4.2.0"    # 3.9: the last line that runs with ZooKeeper, whose jars come with it
CASSANDRA = "5.0.6"
APICURIO = "3.0.9"
SPARK, SCALA, CONNECTOR = "3.5.7", "2.12", "3.5.1"     # the connector to Cassandra ends at Spark 3.5, Scala 2.12
AIRFLOW = "2.10.5"


def say(text):
    print(f"real: {text}", file=sys.stderr, flush=True)


class Progress:
    """A line every few seconds while something takes its time, and one at its end."""

    def __init__(self, name):
        self.name, self.files, self.over = name, 0, threading.Event()

    def tell(self):
        while not self.over.wait(PROGRESS_SECONDS):
            say(f"{self.name}: {self.files} files fetched, {time.monotonic() - self.began:.0f} s")

    def __enter__(self):
        self.began = time.monotonic()
        self.teller = threading.Thread(target=self.tell, daemon=True)
        self.teller.start()
        return self

    def __exit__(self, kind, *_):
        self.over.set()
        self.teller.join()
        if kind is None:
            say(f"{self.name}: installed in {time.monotonic() - self.began:.0f} s")


def run(progress, *command, **options):
    """Runs an installer; what it fetches is counted, what it says is told when it fails."""
    command = [str(part) for part in command]
    lines = []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", **options) as process:
        for line in process.stdout:
            lines.append(line)
            progress.files += line.lstrip("[INFO] ").startswith(("Downloaded ", "Downloading https", "Collecting "))
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(lines[-30:])}")


class Jars:
    """Artifacts of Maven Central with all that they need, in one folder: FOLDER/*.jar."""

    def __init__(self, name, version, *coordinates):
        self.name, self.version, self.coordinates = name, version, coordinates

    def recipe(self):
        return "\n".join(self.coordinates)

    def pom(self):
        one = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
        return ('<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>millrace</groupId>'
                '<artifactId>real</artifactId><version>1</version><packaging>pom</packaging><dependencies>' +
                "".join(one.format(*map(escape, text.split(":"))) for text in self.coordinates) + "</dependencies></project>")

    def make(self, folder, progress):
        with tempfile.TemporaryDirectory() as work:
            (pathlib.Path(work) / "pom.xml").write_text(self.pom())
            run(progress, "mvn", "-B", "-f", f"{work}/pom.xml", f"{DEPENDENCY_PLUGIN}:3.6.1:copy-dependencies",
                "-DincludeScope=runtime", f"-DoutputDirectory={folder}")


class Archive:
    """A tar.gz of Maven Central, unpacked."""

    def __init__(self, name, version, coordinate):
        self.name, self.version, self.coordinate = name, version, coordinate

    def recipe(self):
        return self.coordinate

    def make(self, folder, progress):
        with tempfile.TemporaryDirectory() as work:
            # This old plugin takes an archive without its parent's pom, which is not to be had for every archive.
            run(progress, "mvn", "-B", f"{DEPENDENCY_PLUGIN}:2.8:get", "-Dtransitive=false", f"-Dartifact={self.coordinate}",
                f"-Ddest={work}/archive.tar.gz", cwd=work)
            with tarfile.open(f"{work}/archive.tar.gz") as archive:
                archive.extractall(folder)


class Wheels:
    """A Python environment of its own: FOLDER/bin/python. `constraints` is a file beside this one, or None.
    Scripts in it know their folder by its path, so it is made where it stays."""

    def __init__(self, name, version, requirements, constraints=None):
        self.name, self.version, self.requirements, self.constraints = name, version, requirements, constraints

    def recipe(self):
        return "\n".join(self.requirements) + ((HERE / self.constraints).read_text() if self.constraints else "")

    def make(self, folder, progress):
        run(progress, sys.executable, "-m", "venv", folder)
        constraints = ["-c", HERE / self.constraints] if self.constraints else []
        run(progress, folder / "bin/pip", "install", "--disable-pip-version-check", *constraints, *self.requirements)


class SparkWheels(Wheels):
    """PySpark, and in FOLDER/extra what its wheel lacks: no class may be on the class path twice."""

    def __init__(self, name, version, requirements, *coordinates):
        super().__init__(name, version, requirements)
        self.jars = Jars(name, version, *coordinates)

    def recipe(self):
        return super().recipe() + self.jars.recipe()

    def make(self, folder, progress):
        super().make(folder, progress)
        self.jars.make(folder / "extra", progress)
        artifact = lambda jar: jar.name.rsplit("-", 1)[0]
        own = {artifact(jar) for jar in next(folder.glob("lib/python3*/site-packages/pyspark/jars")).glob("*.jar")}
        for jar in (folder / "extra").glob("*.jar"):
            if artifact(jar) in own:
                jar.unlink()


PACKAGES = {package.name: package for package in [
    Jars("kafka", KAFKA, f"org.apache.kafka:kafka_2.13:{KAFKA}", f"org.apache.kafka:kafka-tools:{KAFKA}",
         "org.slf4j:slf4j-reload4j:1.7.36"),
    Jars("kafka-4", KAFKA_4, f"org.apache.kafka:kafka_2.13:{KAFKA_4}", f"org.apache.kafka:kafka-tools:{KAFKA_4}",
         "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3", "org.apache.logging.log4j:log4j-core:2.24.3"),
    Jars("kafka-4.2", KAFKA_42, f"org.apache.kafka:kafka_2.13:{KAFKA_42}", f"org.apache.kafka:kafka-tools:{KAFKA_42}",
         "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3", "org.apache.logging.log4j:log4j-core:2.24.3"),
    Jars("cassandra", CASSANDRA, f"org.apache.cassandra:cassandra-all:{CASSANDRA}"),
    Archive("registry", APICURIO, f"io.apicurio:apicurio-registry-app:{APICURIO}:tar.gz:all"),
    SparkWheels("spark", SPARK, [f"pyspark[connect]=={SPARK}", "pandas==2.2.3", "numpy==1.26.4", "pyarrow==19.0.1",
                                 "grpcio==1.71.2", "grpcio-status==1.71.2", "protobuf==5.29.5", "setuptools==75.8.0"],
                f"org.apache.spark:spark-sql-kafka-0-10_{SCALA}:{SPARK}",
                f"org.apache.spark:spark-connect_{SCALA}:{SPARK}",
                f"com.datastax.spark:spark-cassandra-connector_{SCALA}:{CONNECTOR}"),
]}


@contextlib.contextmanager
def locked(name):
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{name}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{name}: somebody else installs it, waiting")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(package):
    """The package's folder; made when it is not there. `package` is a name of PACKAGES, or a package of the caller's own."""
    package = PACKAGES[package] if isinstance(package, str) else package
    digest = hashlib.sha256(package.recipe().encode()).hexdigest()[:8]
    folder = CACHE / f"{package.name}-{package.version}-{digest}"
    whole = folder / ".whole"
    if whole.exists():
        return folder
    with locked(package.name):
        if whole.exists():
            return folder
        shutil.rmtree(folder, ignore_errors=True)
        say(f"installing {package.name} {package.version} into {folder}")
        folder.mkdir(parents=True)
        with Progress(package.name) as progress:
            package.make(folder, progress)
        whole.touch()
    return folder
