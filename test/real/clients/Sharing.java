import java.time.Duration;
import java.util.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;

/** Share groups, as a Java program uses them, for clients 4.1 and later: `java -cp JARS Sharing.java ADDRESS PREFIX [genuine]`. Ends
 * with the line "told", or with the exception that tells what was not so. A genuine Kafka keeps with each acknowledgement where the
 * group stood before it, and tells that. */
@SuppressWarnings("unchecked")
public class Sharing {
    static String address, group, topic;
    static boolean genuine;

    static void same(Object found, Object expected, String what) {
        if (!expected.equals(found)) throw new AssertionError(what + ": expected " + expected + ", found " + found);
    }

    static KafkaShareConsumer<String, String> member() {
        Properties all = new Properties();
        all.put("bootstrap.servers", address);
        all.put("group.id", group);
        all.put("share.acknowledgement.mode", "explicit");
        KafkaShareConsumer<String, String> member =
            new KafkaShareConsumer<>(all, new StringDeserializer(), new StringDeserializer());
        member.subscribe(List.of(topic));
        return member;
    }

    static List<ConsumerRecord<String, String>> take(KafkaShareConsumer<String, String> member) {
        long end = System.nanoTime() + 60_000_000_000L;
        while (System.nanoTime() < end) {
            List<ConsumerRecord<String, String>> all = new ArrayList<>();
            for (ConsumerRecord<String, String> record : member.poll(Duration.ofMillis(300))) all.add(record);
            if (!all.isEmpty()) return all;
        }
        throw new AssertionError("no records came");
    }

    static void commit(KafkaShareConsumer<String, String> member) {
        member.commitSync().forEach((part, trouble) -> {
            if (trouble.isPresent()) throw new AssertionError(part + ": " + trouble.get());
        });
    }

    static void produce(int from, int to) {
        Properties all = new Properties();
        all.put("bootstrap.servers", address);
        try (KafkaProducer<String, String> producer = new KafkaProducer<>(all, new StringSerializer(), new StringSerializer())) {
            for (int i = from; i < to; i++) producer.send(new ProducerRecord<>(topic, 0, "k", "" + i));
        }
    }

    /** Accepts records of one in three, releases, rejects; what was released comes again, once more delivered. */
    static void verdicts() {
        produce(0, 30);
        Map<String, Integer> deliveries = new TreeMap<>();
        Set<String> accepted = new TreeSet<>();
        try (KafkaShareConsumer<String, String> ann = member()) {
            while (accepted.size() < 20) {
                for (ConsumerRecord<String, String> record : take(ann)) {
                    int number = Integer.parseInt(record.value()), delivery = record.deliveryCount().get();
                    same(delivery, deliveries.merge(record.value(), 1, Integer::sum), "deliveries of " + number);
                    if (number % 3 == 1 && delivery == 1) {
                        ann.acknowledge(record, AcknowledgeType.RELEASE);
                    } else if (number % 3 == 2) {
                        ann.acknowledge(record, AcknowledgeType.REJECT);
                    } else {
                        ann.acknowledge(record, AcknowledgeType.ACCEPT);
                        accepted.add(record.value());
                    }
                }
                commit(ann);
            }
        }
        same(deliveries.size(), 30, "records seen");
    }

    /** A record is delivered five times, and then no more. */
    static void poison() {
        produce(100, 101);
        try (KafkaShareConsumer<String, String> ann = member()) {
            for (int delivery = 1; delivery <= 5; delivery++) {
                ConsumerRecord<String, String> record = take(ann).get(0);
                same((int) record.deliveryCount().get(), delivery, "deliveries");
                ann.acknowledge(record, AcknowledgeType.RELEASE);
                commit(ann);
            }
            produce(101, 102);
            ConsumerRecord<String, String> record = take(ann).get(0);
            same(record.value(), "101", "the next record");
            ann.acknowledge(record);
            commit(ann);
        }
    }

    /** Client 4.1. It looks for a refusal in each partition, where Kafka tells none. */
    static boolean old() {
        return Arrays.stream(ListShareGroupOffsetsResult.class.getMethods()).noneMatch(m -> m.getName().equals("partitionsToOffsetInfo"));
    }

    static Map<?, ?> offsets(Admin admin) throws Exception {
        ListShareGroupOffsetsResult result = admin.listShareGroupOffsets(Map.of(group, new ListShareGroupOffsetsSpec()));
        java.lang.reflect.Method method =
            result.getClass().getMethod(old() ? "partitionsToOffsetAndMetadata" : "partitionsToOffsetInfo", String.class);
        return ((KafkaFuture<Map<?, ?>>) method.invoke(result, group)).get();
    }

    static long offset(Admin admin) throws Exception {
        Object told = offsets(admin).get(new TopicPartition(topic, 0));
        try {
            return (Long) told.getClass().getMethod("startOffset").invoke(told);
        } catch (NoSuchMethodException old) {
            return ((OffsetAndMetadata) told).offset();
        }
    }

    /** Listed, described, put elsewhere, deleted. */
    static void tools(Admin admin) throws Exception {
        same(admin.listGroups().all().get().stream().filter(one -> one.groupId().equals(group)).findFirst().get().type().get(),
            GroupType.SHARE, "its type");
        ShareGroupDescription told = admin.describeShareGroups(List.of(group)).all().get().get(group);
        same(told.groupState(), GroupState.EMPTY, "its state");
        same(offset(admin), genuine ? 31L : 32L, "where it stands");
        try (KafkaShareConsumer<String, String> ann = member()) {
            long end = System.nanoTime() + 60_000_000_000L;
            do {
                ann.poll(Duration.ofMillis(200));
                told = admin.describeShareGroups(List.of(group)).all().get().get(group);
            } while (told.members().isEmpty() && System.nanoTime() < end);
            same(told.groupState(), GroupState.STABLE, "its state with a member");
            try {
                admin.alterShareGroupOffsets(group, Map.of(new TopicPartition(topic, 0), 5L)).all().get();
                if (!genuine || !old()) throw new AssertionError("a group with members was put elsewhere");
            } catch (java.util.concurrent.ExecutionException trouble) {
                same(trouble.getCause().getClass().getSimpleName(), "GroupNotEmptyException", "the refusal");
            }
        }
        admin.alterShareGroupOffsets(group, Map.of(new TopicPartition(topic, 0), 28L)).all().get();
        same(offset(admin), 28L, "where it was put");
        try (KafkaShareConsumer<String, String> ann = member()) {
            ConsumerRecord<String, String> record = take(ann).get(0);
            same(record.offset(), 28L, "what it reads then");
        }
        admin.deleteShareGroupOffsets(group, Set.of(topic)).all().get();
        same(offsets(admin).size(), 0, "offsets after they were deleted");
        admin.deleteShareGroups(List.of(group)).all().get();
        same(admin.listGroups().all().get().stream().anyMatch(one -> one.groupId().equals(group)), false, "it is gone");
    }

    public static void main(String[] arguments) throws Exception {
        address = arguments[0];
        genuine = arguments.length > 2;
        group = arguments[1] + "jobs";
        topic = arguments[1] + "work";
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", (Object) address))) {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
            ConfigResource resource = new ConfigResource(ConfigResource.Type.GROUP, group);
            admin.incrementalAlterConfigs(Map.of(resource, List.of(new AlterConfigOp(
                new ConfigEntry("share.auto.offset.reset", "earliest"), AlterConfigOp.OpType.SET)))).all().get();
            verdicts();
            poison();
            tools(admin);
        }
        System.out.println("told");
    }
}
