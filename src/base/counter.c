/* base/counter.c: the registry of counters. A counter lives for ever, so that its writer keeps a
 * pointer; the registry's lock is taken to find or print, never to count. */
#include "base/counter.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "base/map.h"

struct mr_counter {
    _Atomic int64_t value;
    enum mr_metric metric;
    mr_str labels;
};

static const struct {
    const char *name, *kind, *help;
} rows[] = {
#define METRIC(id, name, kind, help) {name, #kind, help},
#include "base/metrics.def"
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct mr_map counters; /* key: metric's number, a blank, labels */

struct mr_counter *mr_counter_get(enum mr_metric metric, mr_str labels)
{
    struct mr_buf key = {0};
    mr_assert((unsigned)metric < MR_METRIC_COUNT);
    mr_buf_printf(&key, "%d %.*s", (int)metric, MR_STR_ARG(labels));
    pthread_mutex_lock(&lock);
    struct mr_counter *counter = mr_map_get(&counters, mr_buf_as_str(&key));
    if (counter == NULL) {
        counter = mr_new(struct mr_counter);
        counter->metric = metric;
        counter->labels = mr_str_of(mr_copy_cstr(labels), labels.length);
        mr_map_put(&counters, mr_buf_as_str(&key), counter);
    }
    pthread_mutex_unlock(&lock);
    mr_buf_fini(&key);
    return counter;
}

void mr_counter_add(struct mr_counter *counter, int64_t delta)
{
    atomic_fetch_add_explicit(&counter->value, delta, memory_order_relaxed);
}

void mr_counter_set(struct mr_counter *counter, int64_t value)
{
    atomic_store_explicit(&counter->value, value, memory_order_relaxed);
}

int64_t mr_counter_read(const struct mr_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

static const struct {
    enum mr_metric metric;
    const char *name;
} aliases[] = {
#define ALIAS(id, name) {MR_METRIC_##id, name},
#include "base/metrics.def"
};

static void print_metric(struct mr_buf *out, enum mr_metric metric, const char *name)
{
    struct mr_map_entry *entry;
    bool first = true;
    for (size_t i = 0; (entry = mr_map_next(&counters, &i)) != NULL;) {
        const struct mr_counter *counter = entry->value;
        if (counter->metric != metric)
            continue;
        if (first)
            mr_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, rows[metric].help, name,
                          rows[metric].kind[0] == 'C' ? "counter" : "gauge");
        first = false;
        mr_buf_cstr(out, name);
        if (counter->labels.length > 0) {
            mr_buf_u8(out, '{');
            mr_buf_str(out, counter->labels);
            mr_buf_u8(out, '}');
        }
        mr_buf_printf(out, " %lld\n", (long long)mr_counter_read(counter));
    }
}

void mr_counter_print(struct mr_buf *out)
{
    pthread_mutex_lock(&lock);
    for (int metric = 0; metric < MR_METRIC_COUNT; metric++)
        print_metric(out, (enum mr_metric)metric, rows[metric].name);
    for (size_t i = 0; i < mr_count_of(aliases); i++)
        print_metric(out, aliases[i].metric, aliases[i].name);
    pthread_mutex_unlock(&lock);
}
