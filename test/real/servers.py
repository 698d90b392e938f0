"""The genuine systems as processes: how each is configured, started, known to be ready, killed and stopped.

A server has a folder (its configuration, data and log) and a port offset like Millrace's own. It ends with the process
that started it, whatever becomes of that one. Nothing listens beyond loopback.
"""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import packages

HOST = "127.0.0.1"
READY_SECONDS = int(os.environ.get("MILLRACE_REAL_SECONDS", "240"))
GC = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4", "-Djava.awt.headless=true", "-Djava.net.preferIPv4Stack=true"]


def java():
    """A Java 17, which all these versions take."""
    found = [pathlib.Path(home) / "bin/java" for home in [os.environ.get("JAVA_HOME")] if home]
    found += sorted(pathlib.Path("/usr/lib/jvm").glob("*17*/bin/java"))
    for one in found:
        if one.exists() and re.search(r'"17\.', subprocess.run([one, "-version"], capture_output=True, text=True).stderr):
            return str(one)
    raise RuntimeError("no Java 17 is here: apt-get install openjdk-17-jdk-headless")


def listens(port, host=HOST):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def answers(url):
    """The body of a GET, or None."""
    import requests
    try:
        answer = requests.get(url, timeout=2)
        return answer.text if answer.status_code == 200 else None
    except requests.RequestException:
        return None


class Process:
    """One process of a system. `ready` is asked until it says true. One that ends with the words `again_when` in its log is
    started again, as whoever looks after it would."""

    def __init__(self, name, folder, command, ready, environment=None, again_when=None):
        self.name, self.folder, self.command, self.ready = name, pathlib.Path(folder), [str(part) for part in command], ready
        self.environment = {key: str(value) for key, value in (environment or {}).items()}
        self.log = self.folder / f"{name}.log"
        self.process, self.again_when = None, again_when

    def start(self):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.began = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *self.command], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, start_new_session=True,
                                            env={**os.environ, **self.environment})
        return self

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        return self.process.pid

    def tail(self, lines=15):
        return "\n".join(self.log.read_text(errors="replace").split("\n")[-lines:])

    def wait_ready(self, seconds=READY_SECONDS):
        """Errors: RuntimeError with the end of its log."""
        deadline = time.monotonic() + seconds
        while not self.ready():
            if not self.running and self.again_when and self.again_when in self.tail(40) and time.monotonic() < deadline:
                time.sleep(1)
                self.start()
            if not self.running:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}; its log ends:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready after {seconds} s; its log ends:\n{self.tail()}")
            time.sleep(0.1)
        packages.say(f"{self.name}: ready in {time.monotonic() - self.began:.1f} s")
        return self

    def signal(self, number):
        os.killpg(self.process.pid, number)

    def kill(self):
        """SIGKILL to all of it: nothing is finished, nothing is said."""
        if self.process is not None:
            try:
                self.signal(signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.process.wait()

    def freeze(self):
        """Alive, and answers nobody, until thaw()."""
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)

    def end(self):
        """SIGTERM, without waiting."""
        if self.running:
            self.thaw()
            self.process.terminate()

    def stop(self, seconds=15):
        if not self.running:
            return
        self.end()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            packages.say(f"{self.name}: killed, it did not end in {seconds} s")
        self.kill()


class System:
    """Processes that belong together, in the order of their start."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder).resolve()
        self.processes = []

    def add(self, *arguments, **options):
        process = Process(*arguments, **options)
        self.processes.append(process)
        return process

    def start(self):
        """Starts what is not running, all of it, and returns once it is ready."""
        try:
            begun = [process.start() for process in self.processes if not process.running]
            for process in begun:
                process.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self):
        for process in reversed(self.processes):
            process.stop()

    def kill(self):
        for process in reversed(self.processes):
            process.kill()

    def addresses(self):
        raise NotImplementedError

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


# ---- Kafka ----

LOG4J_1 = """log4j.rootLogger=INFO, out
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d %p %m (%c)%n
log4j.logger.org.apache.zookeeper=WARN
"""
LOG4J_2 = """rootLogger.level=info
rootLogger.appenderRef.out.ref=out
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %m (%c)%n
"""
CLUSTER_ID = "bWlsbHJhY2UtcmVhbC0wMA"


class Kafka(System):
    """`mode` is "kraft" or "zookeeper"; `version` None (the last 3.x), "4" or "4.2", which have share groups. Brokers listen on
    9092, 9093, ... + offset without TLS and credentials; `listeners` adds others: {"SASL": (port, "SASL_PLAINTEXT")}.
    `settings` go into every server.properties. With three brokers topics have replication 3 and min.insync.replicas 2 unless they say otherwise."""

    def __init__(self, offset, folder, mode="kraft", brokers=1, version=None, heap="384m", settings=None, listeners=None):
        super().__init__(folder)
        self.offset, self.mode, self.heap = offset, mode, heap
        self.jars = packages.install("kafka" if version is None else f"kafka-{version}")
        self.version = version
        self.zookeeper, self.brokers = None, []
        self.settings, self.listeners = dict(settings or {}), dict(listeners or {})
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logging = self.folder / "logging.properties"
        self.logging.write_text(LOG4J_1 if version is None else LOG4J_2)
        self.log_option = f"-Dlog4j.configuration=file:{self.logging}" if version is None else \
            f"-Dlog4j2.configurationFile={self.logging}"
        if mode == "zookeeper":
            self.zookeeper = self.zookeeper_add()
        for number in range(1, brokers + 1):
            self.brokers.append(self.broker_add(number, brokers))

    def java(self, heap, *arguments):
        return [java(), f"-Xms{heap}", f"-Xmx{heap}", *GC, self.log_option, "-cp", f"{self.jars}/*", *arguments]

    def zookeeper_port(self):
        return 2181 + self.offset

    def port(self, number=1):
        return 9091 + number + self.offset

    def zookeeper_add(self):
        folder = self.folder / "zookeeper"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "zoo.cfg").write_text(
            f"dataDir={folder}/data\nclientPort={self.zookeeper_port()}\nclientPortAddress={HOST}\nmaxClientCnxns=0\n"
            f"admin.enableServer=false\ntickTime=2000\n4lw.commands.whitelist=*\n")
        return self.add("zookeeper", folder,
                        self.java("128m", "org.apache.zookeeper.server.quorum.QuorumPeerMain", folder / "zoo.cfg"),
                        self.zookeeper_ready)

    def zookeeper_ready(self):
        try:
            with socket.create_connection((HOST, self.zookeeper_port()), 1) as peer:
                peer.settimeout(2)
                peer.sendall(b"ruok")
                return peer.recv(4) == b"imok"
        except OSError:
            return False

    def properties(self, number, count, folder):
        replicas = min(count, 3)
        listeners = {"PLAINTEXT": (self.port(number), "PLAINTEXT"), **self.listeners}
        named = ",".join(f"{name}://{HOST}:{port + (number - 1 if name != 'PLAINTEXT' else 0)}"
                         for name, (port, _) in listeners.items())
        made = {"log.dirs": folder / "data", "num.partitions": 1, "default.replication.factor": replicas,
                "min.insync.replicas": max(1, replicas - 1), "offsets.topic.replication.factor": replicas,
                "transaction.state.log.replication.factor": replicas,
                "transaction.state.log.min.isr": max(1, replicas - 1), "offsets.topic.num.partitions": 8,
                "transaction.state.log.num.partitions": 8, "group.initial.rebalance.delay.ms": 0,
                "log.segment.bytes": 256 << 20, "advertised.listeners": named, "listeners": named,
                "controlled.shutdown.enable": "true", "unclean.leader.election.enable": "false"}
        if self.version is not None:
            made |= {"share.coordinator.state.topic.replication.factor": replicas,
                     "share.coordinator.state.topic.min.isr": max(1, replicas - 1),
                     "share.coordinator.state.topic.num.partitions": 8}
        protocols = {name: protocol for name, (_, protocol) in listeners.items()}
        if self.mode == "zookeeper":
            made |= {"broker.id": number, "zookeeper.connect": f"{HOST}:{self.zookeeper_port()}",
                     "zookeeper.connection.timeout.ms": 30000, "zookeeper.session.timeout.ms": 9000}
        else:
            controller = lambda one: f"{HOST}:{9190 + one + self.offset}"
            protocols["CONTROLLER"] = "PLAINTEXT"
            made |= {"process.roles": "broker,controller", "node.id": number, "controller.listener.names": "CONTROLLER",
                     "controller.quorum.voters": ",".join(f"{one}@{controller(one)}" for one in range(1, count + 1)),
                     "listeners": f"{named},CONTROLLER://{controller(number)}"}
        made["listener.security.protocol.map"] = ",".join(f"{name}:{protocol}" for name, protocol in protocols.items())
        return made | self.settings

    def broker_add(self, number, count):
        folder = self.folder / f"broker-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in self.properties(number, count, folder).items()))
        if self.mode == "kraft" and not (folder / "data/meta.properties").exists():
            features = [] if self.version is None else ["--feature", "share.version=1"]
            made = subprocess.run(self.java("128m", "kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", path, *features),
                                  capture_output=True, text=True)
            if made.returncode != 0:
                raise RuntimeError(f"kafka-storage format: {made.stdout}{made.stderr}")
        name = f"kafka-{number}"
        # ZooKeeper believes a killed broker alive until its session is over, and the new one ends with that complaint.
        return self.add(name, folder, self.java(self.heap, "kafka.Kafka", path), lambda: self.broker_ready(number),
                        again_when="NodeExistsException")

    def broker_ready(self, number):
        """It answers Metadata, and lists itself: a broker that is fenced does not."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient
        if not listens(self.port(number)):
            return False
        admin = AdminClient({"bootstrap.servers": f"{HOST}:{self.port(number)}", "log_level": 0,
                             "logger": _silent})
        try:
            return number in admin.list_topics(timeout=3).brokers
        except KafkaException:
            return False

    def stop(self):
        """The brokers at once, since the last ones of a quorum would wait for the first; then ZooKeeper."""
        for broker in self.brokers:
            broker.end()
        super().stop()

    def tool(self, name, *arguments):
        """Runs one of Kafka's own command-line classes, and gives what it printed."""
        done = subprocess.run(self.java("128m", name, *map(str, arguments)), capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"{name}: {done.stdout}{done.stderr}")
        return done.stdout

    @property
    def address(self):
        """Of all brokers, as bootstrap servers."""
        return ",".join(f"{HOST}:{self.port(number)}" for number in range(1, len(self.brokers) + 1))

    def addresses(self):
        found = {"kafka": self.address}
        if self.zookeeper:
            found["zookeeper"] = f"{HOST}:{self.zookeeper_port()}"
        return found


def _silent():
    import logging
    logger = logging.getLogger("real.quiet")
    logger.disabled = True
    return logger


_silent = _silent()


# ---- Cassandra ----

# Packages of the JDK that Cassandra 5.0 reaches into on Java 17 (its own jvm17-server.options names them).
CASSANDRA_EXPORTS = """java.base: jdk.internal.misc jdk.internal.ref sun.nio.ch java.lang.ref java.lang.reflect
java.management.rmi: com.sun.jmx.remote.internal.rmi
java.rmi: sun.rmi.registry sun.rmi.server sun.rmi.transport.tcp
java.sql: java.sql
jdk.unsupported: sun.misc
jdk.attach: sun.tools.attach
jdk.compiler: com.sun.tools.javac.api com.sun.tools.javac.code com.sun.tools.javac.comp com.sun.tools.javac.file \
com.sun.tools.javac.main com.sun.tools.javac.parser com.sun.tools.javac.tree com.sun.tools.javac.util
jdk.naming.dns: com.sun.jndi.dns"""
CASSANDRA_OPENS = """java.base: java.io java.lang java.lang.module java.lang.reflect java.math java.net java.nio \
java.nio.charset java.nio.file.spi java.util java.util.concurrent java.util.concurrent.atomic jdk.internal.loader \
jdk.internal.math jdk.internal.module jdk.internal.ref jdk.internal.reflect jdk.internal.util jdk.internal.util.jar \
sun.nio.ch sun.nio.fs
java.rmi: sun.rmi.transport.tcp
jdk.management: com.sun.management.internal"""
LOGBACK = """<configuration><appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder>
<pattern>%-5level %date{ISO8601} %logger{20} %msg%n</pattern></encoder></appender>
<root level="INFO"><appender-ref ref="out"/></root></configuration>
"""


def _modules(option, text):
    for line in text.replace("\\\n", "").split("\n"):
        module, names = line.split(":")
        for name in names.split():
            yield f"{option}={module}/{name}=ALL-UNNAMED"


class Cassandra(System):
    """Nodes on 127.0.0.1, 127.0.0.2, ... with the native port 9042 + offset. `settings` go into cassandra.yaml; None takes
    one out of it."""

    def __init__(self, offset, folder, nodes=1, heap="768m", settings=None):
        super().__init__(folder)
        self.offset, self.heap, self.settings = offset, heap, dict(settings or {})
        self.jars = packages.install("cassandra")
        self.nodes = [self.node_add(number, nodes) for number in range(1, nodes + 1)]

    def port(self):
        return 9042 + self.offset

    @staticmethod
    def host(number):
        return f"127.0.0.{number}"

    def yaml(self, number, folder):
        made = {"cluster_name": "millrace", "num_tokens": 16, "allocate_tokens_for_local_replication_factor": 1,
                "partitioner": "org.apache.cassandra.dht.Murmur3Partitioner",
                "data_file_directories": [f"{folder}/data"], "commitlog_directory": f"{folder}/commitlog",
                "saved_caches_directory": f"{folder}/caches", "hints_directory": f"{folder}/hints",
                "cdc_raw_directory": f"{folder}/cdc", "commitlog_sync": "periodic", "commitlog_sync_period": "10000ms",
                "disk_failure_policy": "stop", "commit_failure_policy": "stop",
                "seed_provider": [{"class_name": "org.apache.cassandra.locator.SimpleSeedProvider",
                                   "parameters": [{"seeds": f"{self.host(1)}:{7000 + self.offset}"}]}],
                "listen_address": self.host(number), "storage_port": 7000 + self.offset, "rpc_address": self.host(number),
                "start_native_transport": True, "native_transport_port": self.port(),
                "endpoint_snitch": "SimpleSnitch", "concurrent_reads": 16, "concurrent_writes": 32,
                "concurrent_counter_writes": 16, "memtable_heap_space": "192MiB", "memtable_offheap_space": "64MiB",
                "memtable_allocation_type": "heap_buffers", "compaction_throughput": "64MiB/s", "concurrent_compactors": 1,
                "auto_snapshot": False, "materialized_views_enabled": True, "auto_bootstrap": False,
                "authenticator": "AllowAllAuthenticator", "authorizer": "AllowAllAuthorizer"} | self.settings
        return {name: value for name, value in made.items() if value is not None}

    def node_add(self, number, count):
        folder = self.folder / f"node-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cassandra.yaml").write_text(json.dumps(self.yaml(number, folder), indent=1))   # JSON is YAML
        (folder / "logback.xml").write_text(LOGBACK)
        # A node alone has nobody to wait for; the first start would sleep for half a minute.
        ring = ["-Dcassandra.skip_wait_for_gossip_to_settle=0", "-Dcassandra.ring_delay_ms=0"] if count == 1 else \
            ["-Dcassandra.ring_delay_ms=8000", "-Dcassandra.consistent.rangemovement=false"]
        command = [java(), f"-Xms{self.heap}", f"-Xmx{self.heap}", "-Xss256k", "-XX:+UseG1GC", "-XX:+PerfDisableSharedMem",
                   "-XX:MaxDirectMemorySize=256m", "-Djdk.attach.allowAttachSelf=true",
                   "-Dio.netty.tryReflectionSetAccessible=true",
                   *_modules("--add-exports", CASSANDRA_EXPORTS), *_modules("--add-opens", CASSANDRA_OPENS), *ring,
                   f"-javaagent:{next(self.jars.glob('jamm-*.jar'))}", f"-Dcassandra.config=file://{folder}/cassandra.yaml",
                   f"-Dlogback.configurationFile={folder}/logback.xml", f"-Dcassandra.storagedir={folder}",
                   f"-Dcassandra.logdir={folder}", "-Dcassandra-foreground=yes", "-Djava.net.preferIPv4Stack=true",
                   f"-Dcassandra.jmx.local.port={7199 + number - 1 + self.offset}",
                   "-cp", f"{folder}:{self.jars}/*", "org.apache.cassandra.service.CassandraDaemon"]
        return self.add(f"cassandra-{number}", folder, command, lambda: listens(self.port(), self.host(number)))

    def start(self):
        """One node after another: a token ring grows by one at a time."""
        try:
            for process in self.processes:
                if not process.running:
                    process.start()
                process.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    @property
    def address(self):
        return ",".join(f"{self.host(number)}:{self.port()}" for number in range(1, len(self.nodes) + 1))

    def addresses(self):
        return {"cassandra": self.address}


# ---- the registry: Apicurio, by its Confluent interface ----

class Registry(System):
    """Keeps its schemas in a topic of `kafka` ("host:port"), or, with None, in memory."""

    def __init__(self, offset, folder, kafka=None, heap="256m"):
        super().__init__(folder)
        self.offset = offset
        home = packages.install("registry")
        jar = next(home.rglob("*runner.jar"))
        self.folder.mkdir(parents=True, exist_ok=True)
        storage = {"APICURIO_STORAGE_KIND": "kafkasql", "APICURIO_KAFKASQL_BOOTSTRAP_SERVERS": kafka} if kafka else \
            {"APICURIO_STORAGE_KIND": "sql", "APICURIO_STORAGE_SQL_KIND": "h2"}
        self.add("registry", self.folder,
                 [java(), "-Xms64m", f"-Xmx{heap}", *GC, "-cp", f"{jar}:{jar.parent}/lib/*", "io.quarkus.runner.GeneratedMain"],
                 lambda: answers(f"{self.url}/subjects") is not None,
                 environment={"QUARKUS_HTTP_HOST": HOST, "QUARKUS_HTTP_PORT": self.port(), **storage})

    def port(self):
        return 8081 + self.offset

    @property
    def url(self):
        return f"http://{HOST}:{self.port()}/apis/ccompat/v7"

    def addresses(self):
        return {"registry": self.url}


# ---- Spark ----

SPARK_OPENS = ["java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util",
               "java.util.concurrent", "java.util.concurrent.atomic", "jdk.internal.ref", "sun.nio.ch", "sun.nio.cs",
               "sun.security.action", "sun.util.calendar"]


class Spark(System):
    """A master and its workers (7077 and 9090 + offset for the master's page); `connect` adds a Spark Connect server on
    15002 + offset, which runs in `connect_master` (None: this master). submit() runs a script by spark-submit."""

    def __init__(self, offset, folder, workers=1, cores=2, memory="1g", connect=False, connect_master=None, cassandra=None):
        super().__init__(folder)
        self.offset, self.cassandra = offset, cassandra
        self.venv = packages.install("spark")
        self.home = next(self.venv.glob("lib/python3*/site-packages/pyspark"))
        self.python = self.venv / "bin/python"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.environment = {"SPARK_HOME": self.home, "SPARK_SCALA_VERSION": packages.SCALA, "SPARK_LOCAL_IP": HOST,
                            "SPARK_LOCAL_DIRS": self.folder / "local", "PYSPARK_PYTHON": self.python,
                            "JAVA_HOME": pathlib.Path(java()).resolve().parent.parent}
        if workers > 0:
            self.daemon("spark-master", "master.Master", "--host", HOST, "--port", 7077 + offset,
                        "--webui-port", 9090 + offset, ready=lambda: '"ALIVE"' in self.page())
        for number in range(1, workers + 1):
            self.daemon(f"spark-worker-{number}", "worker.Worker", "--host", HOST, "--webui-port", 9190 + number + offset,
                        "--cores", cores, "--memory", memory, "--work-dir", self.folder / "work", self.master,
                        ready=lambda: f'"aliveworkers" : {workers}' in self.page())
        if connect:
            self.add("spark-connect", self.folder, self.submit_command(
                connect_master or self.master, "--conf", f"spark.connect.grpc.binding.port={15002 + offset}", "--class",
                "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"),
                lambda: listens(15002 + offset), environment=self.environment)

    def daemon(self, name, main, *arguments, ready):
        opens = [f"--add-opens=java.base/{one}=ALL-UNNAMED" for one in SPARK_OPENS]
        self.add(name, self.folder, [java(), "-Xmx256m", "-XX:+IgnoreUnrecognizedVMOptions", *opens, *GC,
                                     "-cp", f"{self.home}/jars/*", f"org.apache.spark.deploy.{main}", *arguments],
                 ready, environment=self.environment)

    def page(self):
        return answers(f"http://{HOST}:{9090 + self.offset}/json/") or ""

    @property
    def master(self):
        return f"spark://{HOST}:{7077 + self.offset}"

    def submit_command(self, master, *arguments, memory="768m"):
        """`memory` is the driver's."""
        jars = ",".join(str(jar) for jar in sorted((self.venv / "extra").glob("*.jar")))
        cassandra = []
        if self.cassandra:
            host, port = self.cassandra.split(",")[0].rsplit(":", 1)
            cassandra = ["--conf", f"spark.cassandra.connection.host={host}",
                         "--conf", f"spark.cassandra.connection.port={port}"]
        return [self.home / "bin/spark-submit", "--master", master, "--driver-memory", memory, "--jars", jars,
                "--conf", f"spark.driver.bindAddress={HOST}", "--conf", f"spark.driver.host={HOST}",
                "--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=2", *cassandra, *arguments]

    def submit(self, *arguments, master="local[2]", memory="768m"):
        """A job of its own, started; the caller ends it with stop() or kill(). Its name is that of its log."""
        name = f"spark-job-{len(self.processes)}"
        return self.add(name, self.folder, self.submit_command(master, *arguments, memory=memory), lambda: True,
                        environment=self.environment).start()

    def addresses(self):
        return {"spark": self.master, "spark-connect": f"sc://{HOST}:{15002 + self.offset}"}
