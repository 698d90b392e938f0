/* broker/share_partition.c: see share_partition.h. */
#include "broker/share_partition.h"

void broker_share_partition_fini(struct broker_share_partition *partition)
{
    mr_timer_stop(&partition->lock);
    mr_array_fini(partition);
}

void broker_share_partition_begin(struct broker_share_partition *partition, int64_t start)
{
    mr_timer_stop(&partition->lock);
    partition->count = 0;
    partition->start = start;
}

/* ---- runs ---- */

static bool is_over(const struct broker_share_run *run)
{
    return run->state == BROKER_SHARE_ACKNOWLEDGED || run->state == BROKER_SHARE_ARCHIVED;
}

/* Index of the run that holds the offset, or of the first one behind it. */
static size_t run_at(const struct broker_share_partition *partition, int64_t offset)
{
    size_t low = 0, high = partition->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        if (partition->items[middle].last < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* A run begins at this offset, which is one of [start, end]: its index. */
static size_t split(struct broker_share_partition *partition, int64_t offset)
{
    size_t at = run_at(partition, offset);

    if (at == partition->count || partition->items[at].first == offset)
        return at;
    (void)mr_array_add(partition);
    memmove(&partition->items[at + 1], &partition->items[at],
            (partition->count - 1 - at) * sizeof(partition->items[0]));
    partition->items[at].last = offset - 1;
    partition->items[at + 1].first = offset;
    return at + 1;
}

/* The runs of exactly [first, last], which lies within [start, end): their first and how many. */
static size_t cut_out(struct broker_share_partition *partition, int64_t first, int64_t last,
                      size_t *count)
{
    size_t from = split(partition, first), to = split(partition, last + 1);

    *count = to - from;
    return from;
}

static bool are_alike(const struct broker_share_run *a, const struct broker_share_run *b)
{
    return a->state == b->state &&
           (is_over(a) ||
            (a->deliveries == b->deliveries && a->owner == b->owner && a->lock_us == b->lock_us));
}

/* Neighbours of one kind become one; what is over goes from the front. */
static void tidy(struct broker_share_partition *partition)
{
    size_t kept = 0, from = 0;

    while (from < partition->count && is_over(&partition->items[from]))
        partition->start = partition->items[from++].last + 1;
    for (; from < partition->count; from++) {
        if (kept > 0 && are_alike(&partition->items[kept - 1], &partition->items[from]))
            partition->items[kept - 1].last = partition->items[from].last;
        else
            partition->items[kept++] = partition->items[from];
    }
    partition->count = kept;
}

static void put(struct broker_share_run *run, enum broker_share_state state)
{
    run->state = state;
    run->owner = 0;
    run->lock_us = 0;
}

/* It may come again, unless it came too often. */
static void give_back(struct broker_share_run *run, int16_t deliveries_max)
{
    put(run, run->deliveries >= deliveries_max ? BROKER_SHARE_ARCHIVED : BROKER_SHARE_AVAILABLE);
}

static void append(struct broker_share_partition *partition, int64_t last,
                   enum broker_share_state state)
{
    int64_t first = broker_share_partition_end(partition);

    *mr_array_add(partition) = (struct broker_share_run){
        .first = first, .last = last, .state = state};
}

bool broker_share_partition_restore(struct broker_share_partition *partition, int64_t first,
                                    int64_t last, enum broker_share_state state, int16_t deliveries)
{
    int64_t end = broker_share_partition_end(partition);

    if (partition->start < 0 || first < end || last < first)
        return false;
    if (first > end)
        append(partition, first - 1, BROKER_SHARE_AVAILABLE);
    append(partition, last, state);
    partition->items[partition->count - 1].deliveries = deliveries;
    return true;
}

/* ---- what may be given out ---- */

int64_t broker_share_partition_next(const struct broker_share_partition *partition)
{
    for (size_t i = 0; i < partition->count; i++)
        if (partition->items[i].state == BROKER_SHARE_AVAILABLE)
            return partition->items[i].first;
    return broker_share_partition_end(partition);
}

bool broker_share_partition_gives(const struct broker_share_partition *partition,
                                  int64_t in_flight_max)
{
    int64_t end = broker_share_partition_end(partition);

    return end - partition->start < in_flight_max || broker_share_partition_next(partition) < end;
}

void broker_share_partition_cut(struct broker_share_partition *partition, int64_t start)
{
    size_t gone;

    if (start <= partition->start)
        return;
    if (start >= broker_share_partition_end(partition)) {
        broker_share_partition_begin(partition, start);
        return;
    }
    gone = split(partition, start);
    partition->count -= gone;
    memmove(partition->items, partition->items + gone,
            partition->count * sizeof(partition->items[0]));
    partition->start = start;
    tidy(partition);
}

bool broker_share_partition_trim(struct broker_share_partition *partition, int64_t end)
{
    if (partition->start == BROKER_SHARE_NOWHERE || broker_share_partition_end(partition) <= end)
        return false;
    if (partition->start >= end) {
        broker_share_partition_begin(partition, end);
        return true;
    }
    partition->count = split(partition, end);
    tidy(partition);
    return true;
}

/* ---- acquiring ---- */

/* Nobody will ever be given these: what is free of them, and what nobody has come to yet. */
static void archive(struct broker_share_partition *partition, int64_t first, int64_t last)
{
    int64_t end = broker_share_partition_end(partition);
    size_t from, count = 0;

    if (first > last)
        return;
    if (first < end) {
        from = cut_out(partition, first, last < end ? last : end - 1, &count);
        for (size_t i = from; i < from + count; i++)
            if (partition->items[i].state == BROKER_SHARE_AVAILABLE)
                put(&partition->items[i], BROKER_SHARE_ARCHIVED);
    }
    if (last >= end)
        append(partition, last, BROKER_SHARE_ARCHIVED);
}

/* Records of one batch are told together, and several small batches too. */
static void tell(struct broker_share_take *take, const struct broker_share_run *run, bool begins)
{
    struct kafka_share_acquired *last = take->acquired.count > 0
                                            ? &take->acquired.items[take->acquired.count - 1]
                                            : NULL;
    bool joins = last != NULL && last->last_offset + 1 == run->first &&
                 last->delivery_count == run->deliveries &&
                 (!begins || last->last_offset - last->first_offset + 1 < take->batch_size);

    if (joins)
        last->last_offset = run->last;
    else
        *mr_array_add(&take->acquired) = (struct kafka_share_acquired){run->first, run->last,
                                                                       run->deliveries};
}

/* Ends where the member's wish ends, if that is to be so. */
static int64_t fit(const struct broker_share_take *take, int64_t first, int64_t last)
{
    return take->strict && last - first + 1 > take->records_max ? first + take->records_max - 1
                                                                : last;
}

static int64_t take_run(struct broker_share_partition *partition, struct broker_share_take *take,
                        size_t at, bool begins)
{
    struct broker_share_run *run = &partition->items[at];
    int64_t records = run->last - run->first + 1;

    run->state = BROKER_SHARE_ACQUIRED;
    run->deliveries++;
    run->owner = take->owner;
    run->lock_us = take->lock_us;
    take->records_max = records < take->records_max ? take->records_max - records : 0;
    tell(take, run, begins);
    return records;
}

int64_t broker_share_partition_acquire(struct broker_share_partition *partition,
                                       struct broker_share_take *take, int64_t first, int64_t last,
                                       bool skip)
{
    int64_t taken = 0, offset, new_from = broker_share_partition_end(partition);

    if (take->records_max <= 0 || take->full)
        return 0;
    take->at = take->at > partition->start ? take->at : partition->start;
    if (last < take->at || take->at > new_from)
        return 0; /* over, or of a time before the group was put elsewhere */
    archive(partition, take->at, first - 1);
    offset = first > take->at ? first : take->at;
    if (skip)
        archive(partition, offset, last);
    while (!skip && offset <= last &&
           (take->records_max > 0 || (taken > 0 && !take->strict))) { /* else a batch is not cut */
        int64_t end = broker_share_partition_end(partition), until = last;
        size_t at = run_at(partition, offset);
        if (offset < end) {
            const struct broker_share_run *run = &partition->items[at];
            until = run->last < last ? run->last : last;
            if (run->state == BROKER_SHARE_AVAILABLE) {
                size_t count;
                until = fit(take, offset, until);
                at = cut_out(partition, offset, until, &count);
                taken += take_run(partition, take, at, taken == 0);
            }
        } else if (end - partition->start >= take->in_flight_max) {
            take->full = true;
            break;
        } else {
            int64_t room = partition->start + take->in_flight_max - 1;
            until = fit(take, offset,
                        until < room ? until : room); /* a batch may claim any count */
            append(partition, until, BROKER_SHARE_AVAILABLE);
            taken += take_run(partition, take, partition->count - 1, taken == 0);
        }
        offset = until + 1;
    }
    take->at = skip ? last + 1 : offset;
    tidy(partition);
    return taken;
}

/* ---- what became of it ---- */

static int64_t at_least(int64_t offset, int64_t start)
{
    return offset > start ? offset : start;
}

static bool is_owned(const struct broker_share_partition *partition, uint64_t owner,
                     const struct kafka_share_acknowledgement *batch)
{
    int64_t first = at_least(batch->first_offset, partition->start);

    if (batch->last_offset >= broker_share_partition_end(partition))
        return false;
    for (size_t i = run_at(partition, first);
         i < partition->count && partition->items[i].first <= batch->last_offset; i++)
        if (partition->items[i].state != BROKER_SHARE_ACQUIRED ||
            partition->items[i].owner != owner)
            return false;
    return true;
}

static void judge(struct broker_share_run *run, int8_t verdict, int16_t deliveries_max,
                  int64_t lock_us)
{
    if (verdict == BROKER_SHARE_ACCEPT)
        put(run, BROKER_SHARE_ACKNOWLEDGED);
    else if (verdict == BROKER_SHARE_RELEASE)
        give_back(run, deliveries_max);
    else if (verdict == BROKER_SHARE_RENEW)
        run->lock_us = lock_us;
    else
        put(run, BROKER_SHARE_ARCHIVED);
}

static void judge_range(struct broker_share_partition *partition, int64_t first, int64_t last,
                        int8_t verdict, int16_t deliveries_max, int64_t lock_us)
{
    size_t count = 0, from;

    first = at_least(first, partition->start);
    if (first > last)
        return;
    from = cut_out(partition, first, last, &count);
    for (size_t i = from; i < from + count; i++)
        judge(&partition->items[i], verdict, deliveries_max, lock_us);
}

static void judge_batch(struct broker_share_partition *partition,
                        const struct kafka_share_acknowledgement *batch, int16_t deliveries_max,
                        int64_t lock_us)
{
    const int8_t *verdicts = batch->acknowledge_types.items;
    int32_t count = batch->acknowledge_types.count, from = 0;

    for (int32_t i = 1; i <= count; i++) {
        int64_t last = i == count ? batch->last_offset : batch->first_offset + i - 1;
        if (i < count && verdicts[i] == verdicts[from])
            continue;
        judge_range(partition, batch->first_offset + from, last, verdicts[from], deliveries_max,
                    lock_us);
        from = i;
    }
}

int16_t broker_share_partition_acknowledge(struct broker_share_partition *partition, uint64_t owner,
                                           const struct kafka_share_acknowledgement *batches,
                                           int32_t count, int16_t deliveries_max, int64_t lock_us)
{
    for (int32_t i = 0; i < count; i++)
        if (batches[i].last_offset >= partition->start && !is_owned(partition, owner, &batches[i]))
            return KAFKA_ERROR_INVALID_RECORD_STATE;
    for (int32_t i = 0; i < count; i++)
        if (batches[i].last_offset >= partition->start)
            judge_batch(partition, &batches[i], deliveries_max, lock_us);
    tidy(partition);
    return KAFKA_ERROR_NONE;
}

void broker_share_partition_undo(struct broker_share_partition *partition, uint64_t owner,
                                 const struct kafka_share_acquired *acquired, int32_t count)
{
    for (int32_t n = 0; n < count; n++) {
        size_t runs = 0;
        size_t from = cut_out(partition, acquired[n].first_offset, acquired[n].last_offset, &runs);
        for (size_t i = from; i < from + runs; i++) {
            struct broker_share_run *run = &partition->items[i];
            mr_assert(run->state == BROKER_SHARE_ACQUIRED && run->owner == owner);
            run->deliveries--;
            put(run, BROKER_SHARE_AVAILABLE);
        }
    }
    tidy(partition);
}

bool broker_share_partition_release(struct broker_share_partition *partition, uint64_t owner,
                                    int16_t deliveries_max)
{
    bool some = false;

    for (size_t i = 0; i < partition->count; i++) {
        struct broker_share_run *run = &partition->items[i];
        if (run->state != BROKER_SHARE_ACQUIRED || run->owner != owner)
            continue;
        run->deliveries--;
        give_back(run, deliveries_max);
        some = true;
    }
    if (some)
        tidy(partition);
    return some;
}

bool broker_share_partition_expire(struct broker_share_partition *partition, int64_t now_us,
                                   int16_t deliveries_max)
{
    bool some = false;

    for (size_t i = 0; i < partition->count; i++) {
        struct broker_share_run *run = &partition->items[i];
        if (run->state != BROKER_SHARE_ACQUIRED || run->lock_us > now_us)
            continue;
        give_back(run, deliveries_max);
        some = true;
    }
    if (some)
        tidy(partition);
    return some;
}

int64_t broker_share_partition_lock_us(const struct broker_share_partition *partition)
{
    int64_t earliest = INT64_MAX;

    for (size_t i = 0; i < partition->count; i++)
        if (partition->items[i].state == BROKER_SHARE_ACQUIRED &&
            partition->items[i].lock_us < earliest)
            earliest = partition->items[i].lock_us;
    return earliest;
}

int64_t broker_share_partition_done(const struct broker_share_partition *partition)
{
    int64_t done = 0;

    for (size_t i = 0; i < partition->count; i++)
        if (is_over(&partition->items[i]))
            done += partition->items[i].last - partition->items[i].first + 1;
    return done;
}
