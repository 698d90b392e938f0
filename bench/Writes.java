import com.datastax.oss.driver.api.core.CqlSession;
import com.datastax.oss.driver.api.core.config.DefaultDriverOption;
import com.datastax.oss.driver.api.core.config.DriverConfigLoader;
import com.datastax.oss.driver.api.core.cql.PreparedStatement;
import com.datastax.oss.driver.api.core.cql.SimpleStatement;
import java.lang.management.ManagementFactory;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.atomic.AtomicLong;

/** Rows of 12 columns into a table by the Java driver's prepared, asynchronous statements:
 * `java -cp JARS Writes.java HOST PORT KEYSPACE ROWS`. Prints rows/s, the process's CPU-us a row and the failures, once it is warm. */
public class Writes {
    static final int UNDER_WAY = 1024;

    static long cpu() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    static long write(CqlSession session, PreparedStatement insert, int from, int count) throws Exception {
        Semaphore room = new Semaphore(UNDER_WAY);
        CountDownLatch all = new CountDownLatch(count);
        AtomicLong failed = new AtomicLong();
        for (int i = from; i < from + count; i++) {
            room.acquire();
            session.executeAsync(insert.bind(new UUID(0x4000L, 0x8000000000000000L | i), "first" + i, "last" + i, "female",
                i + " Some Street, Some Town, Some State, Some Country", "" + i, "first.last" + i + "@example.com", "user" + i,
                "1970-01-01T00:00:00.000Z", "2010-01-01T00:00:00.000Z", "(555) 555-" + i,
                "https://randomuser.example/portraits/med/women/" + i % 100 + ".jpg")).whenComplete((rows, trouble) -> {
                    if (trouble != null) failed.incrementAndGet();
                    room.release();
                    all.countDown();
                });
        }
        all.await();
        return failed.get();
    }

    public static void main(String[] arguments) throws Exception {
        int rows = Integer.parseInt(arguments[3]);
        try (CqlSession session = CqlSession.builder()
                .addContactPoint(new InetSocketAddress(arguments[0], Integer.parseInt(arguments[1])))
                .withConfigLoader(DriverConfigLoader.programmaticBuilder()
                    .withDuration(DefaultDriverOption.REQUEST_TIMEOUT, Duration.ofSeconds(20)).build())
                .withLocalDatacenter("datacenter1").withKeyspace(arguments[2]).build()) {
            session.execute(SimpleStatement.newInstance("CREATE TABLE IF NOT EXISTS by_the_driver (id uuid PRIMARY KEY, "
                + "first_name text, last_name text, gender text, address text, post_code text, email text, username text, "
                + "dob text, registered_date text, phone text, picture text)"));
            PreparedStatement insert = session.prepare("INSERT INTO by_the_driver (id, first_name, last_name, gender, address, "
                + "post_code, email, username, dob, registered_date, phone, picture) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
            long failed = write(session, insert, 0, rows / 4); // compiled, and its queues have their size
            long cpu = cpu(), time = System.nanoTime();
            failed += write(session, insert, rows / 4, rows);
            time = System.nanoTime() - time;
            cpu = cpu() - cpu;
            System.out.printf("%.0f %.2f %d%n", rows / (time / 1e9), cpu / 1000.0 / rows, failed);
        }
    }
}
