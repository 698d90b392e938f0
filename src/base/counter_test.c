/* base/counter_test.c: the promises of base/counter.h. */
#include "story.h"

STORY("a counter is found again by metric and labels, and prints for Prometheus")
{
    struct mr_counter *users = mr_counter_get(MR_METRIC_STREAM_IN, MR_STR("stream=\"users\""));
    struct mr_counter *orders = mr_counter_get(MR_METRIC_STREAM_IN, MR_STR("stream=\"orders\""));
    struct mr_counter *lag = mr_counter_get(MR_METRIC_STREAM_LAG, MR_STR(""));
    struct mr_buf out = {0};
    expect(users != orders);
    expect(mr_counter_get(MR_METRIC_STREAM_IN, MR_STR("stream=\"users\"")) == users);
    mr_counter_add(users, 5);
    mr_counter_add(users, 6);
    mr_counter_set(lag, -3);
    expect_int(mr_counter_read(users), 11);
    mr_counter_print(&out);
    expect_str(mr_buf_as_str(&out),
               MR_STR("# HELP millrace_stream_records_in_total Records that a stream has read.\n"
                      "# TYPE millrace_stream_records_in_total counter\n"
                      "millrace_stream_records_in_total{stream=\"users\"} 11\n"
                      "millrace_stream_records_in_total{stream=\"orders\"} 0\n"
                      "# HELP millrace_stream_lag_records Records of the input not yet read.\n"
                      "# TYPE millrace_stream_lag_records gauge\n"
                      "millrace_stream_lag_records -3\n"));
    mr_buf_fini(&out);
}

STORY("the log takes one line an event, and a stranger's text cannot forge a second")
{
    struct mr_buf path = {0}, text = {0};
    mr_buf_printf(&path, "%s/log", t->folder);
    char *name = mr_buf_take_cstr(&path);
    expect_ok(mr_log_open(name));
    mr_log(MR_LOG_DEBUG, "test", "not shown");
    mr_log(MR_LOG_WARN, "test", "evil %s", "name\nERROR forged");
    char *large = mr_alloc(10000);
    memset(large, 'x', 9999);
    large[9999] = '\0';
    mr_log(MR_LOG_INFO, "test", "%s", large);
    expect_ok(mr_file_read(name, 100000, &text));
    mr_str all = mr_buf_as_str(&text), line;
    expect(mr_str_split(&all, '\n', &line));
    expect(mr_str_ends(line, MR_STR("WARN  test: evil name\\x0aERROR forged")));
    expect(mr_str_split(&all, '\n', &line));
    expect(line.length <= 4000);
    expect_str(all, MR_STR(""));
}
