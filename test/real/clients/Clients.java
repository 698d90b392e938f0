import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.*;

/** What a Java program does with a log, for clients 2.8 to 4.x: `java -cp JARS Clients.java ADDRESS PREFIX STORY`. A story
 * ends with the line "told", or with the exception that tells what was not so. */
public class Clients {
    static String address, prefix;

    static void check(boolean so, String what) {
        if (!so) throw new AssertionError(what);
    }

    static void same(Object found, Object expected, String what) {
        check(expected.equals(found), what + ": expected " + expected + ", found " + found);
    }

    static Properties settings(String... pairs) {
        Properties all = new Properties();
        all.put("bootstrap.servers", address);
        for (int i = 0; i < pairs.length; i += 2) all.put(pairs[i], pairs[i + 1]);
        return all;
    }

    static Admin admin() {
        return Admin.create(settings());
    }

    static KafkaProducer<String, String> producer(String... pairs) {
        return new KafkaProducer<>(settings(pairs), new StringSerializer(), new StringSerializer());
    }

    static KafkaConsumer<String, String> consumer(String... pairs) {
        Properties all = settings("auto.offset.reset", "earliest", "enable.auto.commit", "false");
        all.putAll(settings(pairs));
        return new KafkaConsumer<>(all, new StringDeserializer(), new StringDeserializer());
    }

    static String topic(Admin admin, String name, int partitions) throws Exception {
        String whole = prefix + name;
        admin.createTopics(List.of(new NewTopic(whole, partitions, (short) 1))).all().get();
        return whole;
    }

    static List<ConsumerRecord<String, String>> take(KafkaConsumer<String, String> consumer, int count) {
        List<ConsumerRecord<String, String>> all = new ArrayList<>();
        long end = System.nanoTime() + 60_000_000_000L;
        while (all.size() < count) {
            check(System.nanoTime() < end, "only " + all.size() + " of " + count + " records came");
            for (ConsumerRecord<String, String> record : consumer.poll(Duration.ofMillis(200))) all.add(record);
        }
        return all;
    }

    static Class<?> refused(Future<?> future) throws Exception {
        try {
            future.get();
            return null;
        } catch (ExecutionException trouble) {
            return trouble.getCause().getClass();
        }
    }

    /** all() until 3.0, allTopicNames() after. */
    @SuppressWarnings("unchecked")
    static KafkaFuture<Map<String, TopicDescription>> described(Admin admin, String topic) throws Exception {
        DescribeTopicsResult result = admin.describeTopics(List.of(topic));
        java.lang.reflect.Method method;
        try {
            method = result.getClass().getMethod("allTopicNames");
        } catch (NoSuchMethodException old) {
            method = result.getClass().getMethod("all");
        }
        return (KafkaFuture<Map<String, TopicDescription>>) method.invoke(result);
    }

    /** Topics, their settings, partitions, offsets, records deleted, the cluster and its disks. */
    static void admin_manages_topics() throws Exception {
        try (Admin admin = admin()) {
            String topic = topic(admin, "managed", 2);
            same(refused(admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all()), TopicExistsException.class,
                "the same topic again");
            same(refused(admin.createTopics(List.of(new NewTopic(topic + "-2", 1, (short) 3))).all()),
                InvalidReplicationFactorException.class, "more copies than brokers");
            same(refused(admin.createTopics(List.of(new NewTopic("bad name", 1, (short) 1))).all()),
                InvalidTopicException.class, "a name with a space");
            check(admin.listTopics().names().get().contains(topic), "it is listed");
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
            TopicDescription told = described(admin, topic).get().get(topic);
            same(told.partitions().size(), 3, "partitions");
            same(told.partitions().get(0).isr().size(), 1, "in-sync replicas");
            check(told.topicId() != null && !told.topicId().equals(Uuid.ZERO_UUID), "it has an id");
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            admin.incrementalAlterConfigs(Map.of(resource, List.of(
                new AlterConfigOp(new ConfigEntry("retention.ms", "3600000"), AlterConfigOp.OpType.SET),
                new AlterConfigOp(new ConfigEntry("cleanup.policy", "compact"), AlterConfigOp.OpType.APPEND)))).all().get();
            Config config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
            same(config.get("retention.ms").value(), "3600000", "retention.ms");
            same(config.get("retention.ms").source(), ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, "its source");
            same(config.get("cleanup.policy").value(), "delete,compact", "cleanup.policy");
            same(refused(admin.incrementalAlterConfigs(Map.of(resource, List.of(
                new AlterConfigOp(new ConfigEntry("retention.ms", "soon"), AlterConfigOp.OpType.SET)))).all()),
                InvalidConfigurationException.class, "a value that does not fit");
            try (KafkaProducer<String, String> producer = producer("compression.type", "lz4")) {
                for (int i = 0; i < 100; i++) producer.send(new ProducerRecord<>(topic, 0, (long) i * 1000, "k" + i, "v" + i));
            }
            TopicPartition first = new TopicPartition(topic, 0);
            same(admin.listOffsets(Map.of(first, OffsetSpec.latest())).partitionResult(first).get().offset(), 100L, "its end");
            same(admin.listOffsets(Map.of(first, OffsetSpec.forTimestamp(42_000))).partitionResult(first).get().offset(), 42L,
                "the record of a time");
            same(admin.deleteRecords(Map.of(first, RecordsToDelete.beforeOffset(10))).lowWatermarks().get(first).get()
                .lowWatermark(), 10L, "what is left after deletion");
            same(admin.listOffsets(Map.of(first, OffsetSpec.earliest())).partitionResult(first).get().offset(), 10L, "its start");
            same(admin.describeCluster().nodes().get().size(), 1, "brokers");
            check(admin.describeCluster().clusterId().get().length() > 10, "the cluster's id");
            check(admin.describeLogDirs(List.of(admin.describeCluster().controller().get().id())).allDescriptions().get()
                .values().iterator().next().values().iterator().next().replicaInfos().containsKey(first), "its size on disk");
            admin.deleteTopics(List.of(topic)).all().get();
            same(refused(described(admin, topic)), UnknownTopicOrPartitionException.class, "it is gone");
        }
    }

    /** Every compression, keys, headers, times; offsets in order; seeking by offset and by time. */
    static void records_come_as_they_went() throws Exception {
        try (Admin admin = admin()) {
            String topic = topic(admin, "records", 1);
            int each = 500;
            String[] ways = {"none", "gzip", "snappy", "lz4", "zstd"};
            for (String way : ways)
                try (KafkaProducer<String, String> producer = producer("compression.type", way, "enable.idempotence", "true",
                        "acks", "all", "linger.ms", "5")) {
                    List<Future<RecordMetadata>> sent = new ArrayList<>();
                    for (int i = 0; i < each; i++)
                        sent.add(producer.send(new ProducerRecord<>(topic, null, 1_700_000_000_000L + i, way + i,
                            i % 10 == 0 ? null : "v".repeat(i % 100), List.of(new RecordHeader("way", way.getBytes())))));
                    for (int i = 1; i < each; i++)
                        check(sent.get(i).get().offset() == sent.get(i - 1).get().offset() + 1, "offsets go on by one");
                }
            try (KafkaConsumer<String, String> consumer = consumer()) {
                TopicPartition only = new TopicPartition(topic, 0);
                consumer.assign(List.of(only));
                consumer.seekToBeginning(List.of(only));
                List<ConsumerRecord<String, String>> all = take(consumer, each * ways.length);
                for (int n = 0; n < all.size(); n++) {
                    ConsumerRecord<String, String> one = all.get(n);
                    String way = ways[n / each];
                    int i = n % each;
                    check(one.offset() == n && one.key().equals(way + i) && one.timestamp() == 1_700_000_000_000L + i, "record " + n);
                    same(one.value() == null ? "" : one.value(), i % 10 == 0 ? "" : "v".repeat(i % 100), "value " + n);
                    same(new String(one.headers().lastHeader("way").value()), way, "header " + n);
                }
                Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(Map.of(only, 1_700_000_000_123L));
                same(found.get(only).offset(), 123L, "the first record of a time");
                consumer.seek(only, 2000);
                same(take(consumer, 1).get(0).offset(), 2000L, "after seek");
                same(consumer.endOffsets(List.of(only)).get(only), (long) each * ways.length, "the end");
            }
            try (KafkaProducer<String, String> producer = producer()) {
                same(refused(producer.send(new ProducerRecord<>(topic, "x".repeat(1_100_000)))), RecordTooLargeException.class,
                    "too large");
            }
        }
    }

    static void work(String name, String topic, String strategy, Set<String> seen, boolean[] over, List<Throwable> trouble) {
        try (KafkaConsumer<String, String> consumer = consumer("group.id", prefix + "group", "client.id", name,
                "partition.assignment.strategy", strategy, "session.timeout.ms", "6000", "heartbeat.interval.ms", "500")) {
            consumer.subscribe(List.of(topic), new ConsumerRebalanceListener() {
                public void onPartitionsAssigned(Collection<TopicPartition> some) {}

                public void onPartitionsRevoked(Collection<TopicPartition> some) {
                    consumer.commitSync();
                }
            });
            while (true) {
                ConsumerRecords<String, String> some = consumer.poll(Duration.ofMillis(100));
                synchronized (seen) {
                    for (ConsumerRecord<String, String> one : some) check(seen.add(one.value()), one.value() + " came twice");
                    if (over[0]) break;
                }
                if (some.isEmpty()) continue;
                try {
                    consumer.commitSync();
                } catch (RebalanceInProgressException later) {
                    continue; // poll() takes part in it first
                }
            }
        } catch (Throwable any) {
            trouble.add(any);
        }
    }

    /** Members come and go, by each assignor; every record is seen once; the group is described and its offsets moved. */
    static void groups_share_the_work() throws Exception {
        String[] strategies = {"org.apache.kafka.clients.consumer.RangeAssignor",
            "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"};
        for (String strategy : strategies)
            try (Admin admin = admin(); KafkaProducer<String, String> producer = producer()) {
                String mark = strategy.substring(strategy.lastIndexOf('.') + 1).toLowerCase(), topic = topic(admin, mark, 6);
                Set<String> seen = new HashSet<>();
                boolean[] over = {false};
                List<Throwable> trouble = new ArrayList<>();
                List<Thread> threads = new ArrayList<>();
                int sent = 0;
                for (int member = 0; member < 3; member++) {
                    String name = "member-" + member;
                    threads.add(new Thread(() -> work(name, topic, strategy, seen, over, trouble)));
                    threads.get(member).start();
                    for (int i = 0; i < 2000; i++) producer.send(new ProducerRecord<>(topic, "k" + i, mark + sent++));
                    producer.flush();
                    Thread.sleep(1500); // more of them come while there is work
                }
                long end = System.nanoTime() + 120_000_000_000L;
                while (true) {
                    synchronized (seen) {
                        if (seen.size() == sent || !trouble.isEmpty()) break;
                        check(System.nanoTime() < end, "only " + seen.size() + " of " + sent + " records were seen");
                    }
                    Thread.sleep(100);
                }
                if (!trouble.isEmpty()) throw new AssertionError(trouble.get(0));
                Thread.sleep(500); // the last commits
                ConsumerGroupDescription told = admin.describeConsumerGroups(List.of(prefix + "group")).all().get()
                    .get(prefix + "group");
                same(told.members().size(), 3, "members");
                Set<TopicPartition> owned = new HashSet<>();
                for (MemberDescription member : told.members()) owned.addAll(member.assignment().topicPartitions());
                same(owned.size(), 6, "each partition has its owner");
                same(refused(admin.deleteConsumerGroups(List.of(prefix + "group")).all()), GroupNotEmptyException.class,
                    "a group with members");
                synchronized (seen) {
                    over[0] = true;
                }
                for (Thread thread : threads) thread.join();
                if (!trouble.isEmpty()) throw new AssertionError(trouble.get(0));
                long committed = 0;
                for (OffsetAndMetadata one : admin.listConsumerGroupOffsets(prefix + "group").partitionsToOffsetAndMetadata().get()
                        .values()) committed += one.offset();
                same(committed, (long) sent, "what was committed");
                admin.alterConsumerGroupOffsets(prefix + "group", Map.of(new TopicPartition(topic, 0), new OffsetAndMetadata(0)))
                    .all().get();
                check(admin.listConsumerGroups().all().get().stream().anyMatch(g -> g.groupId().equals(prefix + "group")), "listed");
                admin.deleteConsumerGroups(List.of(prefix + "group")).all().get();
            }
    }

    static Set<String> values(String topic, String isolation, int least) {
        Set<String> found = new TreeSet<>();
        try (KafkaConsumer<String, String> consumer = consumer("isolation.level", isolation)) {
            List<TopicPartition> all = new ArrayList<>();
            for (PartitionInfo one : consumer.partitionsFor(topic)) all.add(new TopicPartition(topic, one.partition()));
            consumer.assign(all);
            consumer.seekToBeginning(all);
            Map<TopicPartition, Long> ends = consumer.endOffsets(all);
            long deadline = System.nanoTime() + 60_000_000_000L;
            while (all.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) {
                check(System.nanoTime() < deadline, "the end was not reached");
                for (ConsumerRecord<String, String> one : consumer.poll(Duration.ofMillis(200)))
                    check(found.add(one.value()), one.value() + " came twice");
            }
        }
        check(found.size() >= least, "only " + found);
        return found;
    }

    /** Committed, aborted, open; offsets in a transaction; a second producer of the same id fences the first. */
    static void transactions_are_all_or_nothing() throws Exception {
        try (Admin admin = admin()) {
            String topic = topic(admin, "transactions", 3), input = topic(admin, "input", 1), group = prefix + "copier";
            KafkaProducer<String, String> first = producer("transactional.id", prefix + "id", "transaction.timeout.ms", "10000");
            first.initTransactions();
            for (int round = 0; round < 10; round++) {
                first.beginTransaction();
                for (int i = 0; i < 100; i++) first.send(new ProducerRecord<>(topic, "k" + i, "r" + round + "-" + i));
                if (round % 3 == 2) {
                    first.flush();
                    first.abortTransaction();
                } else {
                    first.commitTransaction();
                }
            }
            first.beginTransaction();
            first.send(new ProducerRecord<>(topic, "open", "open")).get();
            Set<String> committed = values(topic, "read_committed", 0);
            same(committed.size(), 700, "committed");
            check(committed.stream().noneMatch(one -> one.startsWith("r2-") || one.equals("open")), "nothing aborted or open is seen");
            same(values(topic, "read_uncommitted", 1).size(), 1001, "uncommitted");
            KafkaProducer<String, String> second = producer("transactional.id", prefix + "id");
            second.initTransactions();
            try {
                first.send(new ProducerRecord<>(topic, "late", "late"));
                first.commitTransaction();
                throw new AssertionError("a fenced producer commits");
            } catch (ProducerFencedException | InvalidProducerEpochException expected) {
                first.close(Duration.ZERO);
            }
            try (KafkaProducer<String, String> plain = producer()) {
                for (int i = 0; i < 300; i++) plain.send(new ProducerRecord<>(input, "k", "in" + i));
            }
            try (KafkaConsumer<String, String> reader = consumer("group.id", group, "max.poll.records", "50")) {
                reader.subscribe(List.of(input));
                int copied = 0, rounds = 0;
                while (copied < 300) {
                    List<ConsumerRecord<String, String>> some = take(reader, 1);
                    second.beginTransaction();
                    Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
                    for (ConsumerRecord<String, String> one : some) {
                        second.send(new ProducerRecord<>(topic, one.value()));
                        offsets.put(new TopicPartition(one.topic(), one.partition()), new OffsetAndMetadata(one.offset() + 1));
                    }
                    second.sendOffsetsToTransaction(offsets, reader.groupMetadata());
                    if (rounds++ == 1) { // this one does not count: read again
                        second.abortTransaction();
                        offsets.replaceAll((key, value) -> new OffsetAndMetadata(value.offset() - some.size()));
                        offsets.forEach((key, value) -> reader.seek(key, value.offset()));
                        continue;
                    }
                    second.commitTransaction();
                    copied += some.size();
                }
            }
            second.close();
            same(values(topic, "read_committed", 1).size(), 1000, "copied once each");
            same(admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get()
                .get(new TopicPartition(input, 0)).offset(), 300L, "the offsets of the transactions");
        }
    }

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        prefix = arguments[1];
        try {
            Clients.class.getDeclaredMethod(arguments[2]).invoke(null);
        } catch (java.lang.reflect.InvocationTargetException trouble) {
            trouble.getCause().printStackTrace();
            System.exit(1);
        }
        System.out.println("told");
    }
}
