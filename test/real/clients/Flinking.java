import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.serialization.SimpleStringSchema;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.kafka.clients.consumer.OffsetResetStrategy;

/** Flink in one JVM (its MiniCluster): `java -cp CLASSES:JARS Flinking ADDRESS PREFIX FOLDER` carries the records of PREFIXin to
 * PREFIXout, exactly once, through failures, until it is ended or killed. */
public class Flinking {
    public static void main(String[] arguments) throws Exception {
        String address = arguments[0], prefix = arguments[1], folder = arguments[2];
        Configuration settings = new Configuration();
        settings.setString("restart-strategy.type", "fixed-delay");
        settings.setString("restart-strategy.fixed-delay.attempts", "1000");
        settings.setString("restart-strategy.fixed-delay.delay", "500 ms");
        settings.setString("execution.checkpointing.interval", "500 ms");
        settings.setString("execution.checkpointing.timeout", "15 s");
        settings.setString("execution.checkpointing.tolerable-failed-checkpoints", "0");
        settings.setString("execution.checkpointing.dir", "file://" + folder);
        settings.setString("taskmanager.memory.network.max", "32mb");
        settings.setString("taskmanager.memory.network.min", "32mb");
        StreamExecutionEnvironment flow = StreamExecutionEnvironment.createLocalEnvironment(2, settings);
        KafkaSource<String> source = KafkaSource.<String>builder()
            .setBootstrapServers(address).setTopics(prefix + "in").setGroupId(prefix + "flink")
            .setStartingOffsets(OffsetsInitializer.committedOffsets(OffsetResetStrategy.EARLIEST))
            .setValueOnlyDeserializer(new SimpleStringSchema())
            .setProperty("partition.discovery.interval.ms", "1000").setProperty("isolation.level", "read_committed").build();
        Properties producer = new Properties();
        producer.put("transaction.timeout.ms", "120000");
        producer.put("delivery.timeout.ms", "20000");
        producer.put("request.timeout.ms", "10000");
        producer.put("max.block.ms", "10000");
        KafkaSink<String> sink = KafkaSink.<String>builder()
            .setBootstrapServers(address).setKafkaProducerConfig(producer)
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE).setTransactionalIdPrefix(prefix + "sink")
            .setRecordSerializer(KafkaRecordSerializationSchema.<String>builder()
                .setTopic(prefix + "out").setValueSerializationSchema(new SimpleStringSchema()).build())
            .build();
        flow.fromSource(source, WatermarkStrategy.noWatermarks(), "in").map(text -> "<" + text + ">").sinkTo(sink);
        flow.execute("story");
    }
}
