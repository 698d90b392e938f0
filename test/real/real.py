#!/usr/bin/env python3
"""The genuine systems, for stories, benches and by hand.

    import real
    with real.start("kafka", offset, folder) as kafka:      # ready when this returns
        ... kafka.address ...                                # stopped at the end, whatever happens

By hand: `./dev real install NAME...`, and `./dev real start NAME [--offset N] [--folder FOLDER]`, until Ctrl-C.
"""
import argparse
import functools
import os
import pathlib
import shutil
import signal
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import packages  # noqa: E402
import servers  # noqa: E402

# name -> (what makes it, the packages that it is made of)
SYSTEMS = {
    "kafka": (servers.Kafka, ["kafka"]),                                            # KRaft
    "kafka-zookeeper": (functools.partial(servers.Kafka, mode="zookeeper"), ["kafka"]),
    "kafka-three": (functools.partial(servers.Kafka, brokers=3, heap="256m"), ["kafka"]),
    "kafka-4": (functools.partial(servers.Kafka, version="4"), ["kafka-4"]),
    "kafka-4.2": (functools.partial(servers.Kafka, version="4.2"), ["kafka-4.2"]),
    "registry": (servers.Registry, ["registry"]),
    "cassandra": (servers.Cassandra, ["cassandra"]),
    "cassandra-three": (functools.partial(servers.Cassandra, nodes=3, heap="384m"), ["cassandra"]),
    "spark": (servers.Spark, ["spark"]),
    "spark-connect": (functools.partial(servers.Spark, workers=0, connect=True, connect_master="local[2]"), ["spark"]),
}


def install(name):
    """Fetches what `name`, a system or a package, is made of, when it is not there yet; its folder, or a list of them."""
    folders = [packages.install(package) for package in (SYSTEMS[name][1] if name in SYSTEMS else [name])]
    return folders[0] if len(folders) == 1 else folders


def make(name, offset, folder, **options):
    """The system, configured and not started: its processes are started one by one by whoever wants that."""
    return SYSTEMS[name][0](offset, folder, **options)


def start(name, offset, folder, **options):
    """The system, ready. `offset` moves its ports; `folder` keeps its data; `options` are those of its class in servers.py.
    Errors: RuntimeError with the end of the log; nothing runs then."""
    return make(name, offset, folder, **options).start()


def stop(system):
    """Ends it in good order, and by force when that takes too long."""
    system.stop()


# ---- by hand ----

def run_by_hand(arguments):
    folder = pathlib.Path(arguments.folder or tempfile.mkdtemp(prefix=f"real-{arguments.name}-"))
    options = {key: value for key, _, value in (text.partition("=") for text in arguments.option)}
    for end in (signal.SIGINT, signal.SIGTERM):
        signal.signal(end, lambda *_: sys.exit(0))
    system = make(arguments.name, arguments.offset, folder, **options)
    try:
        system.start()
        for name, address in system.addresses().items():
            print(f"{name} {address}", flush=True)
        packages.say(f"{arguments.name} runs in {folder}; Ctrl-C ends it")
        while True:
            signal.pause()
    finally:
        system.stop()
        if not arguments.folder:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(prog="./dev real", description="Genuine systems, by hand.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("install", help="fetch them into the cache folder")
    one.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SYSTEMS))
    one = commands.add_parser("start", help="run one until Ctrl-C")
    one.add_argument("name", choices=SYSTEMS)
    one.add_argument("--offset", type=int, default=20000, help="added to the usual ports (20000)")
    one.add_argument("--folder", help="its data stays here; without: in a folder that goes with it")
    one.add_argument("option", nargs="*", metavar="KEY=VALUE", help="text options of its class in servers.py")
    commands.add_parser("clean", help="remove the cache folder")
    arguments = parser.parse_args()
    if arguments.command == "install":
        for name in arguments.names or SYSTEMS:
            print(install(name))
    elif arguments.command == "clean":
        shutil.rmtree(packages.CACHE, ignore_errors=True)
    else:
        run_by_hand(arguments)


if __name__ == "__main__":
    os.umask(0o022)
    main()
