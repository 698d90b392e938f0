/* kafka/walk.c: a record that lies whole in the piece at hand, and has nothing wrong with it, is walked
 * in one go. Any other is walked a number at a time, which also decides what is wrong:
 *
 *   LENGTH -> ATTRIBUTES -> TIME -> OFFSET -> KEY -> VALUE -> HEADERS -> (HEADER_KEY -> HEADER_VALUE)* -> LENGTH
 *
 * Kafka's documentation, "Record". A number has as many bytes as Kafka's clients read: 5, and 10 for times. */
#include "kafka/walk.h"

#include "kafka/compress.h"

enum phase { LENGTH, ATTRIBUTES, TIME, OFFSET, KEY, VALUE, HEADERS, HEADER_KEY, HEADER_VALUE };
enum { SHIFT_MAX = 28, TIME_SHIFT_MAX = 63 };

static int64_t unzigzag(uint64_t value)
{
    return (int64_t)(value >> 1) ^ -(int64_t)(value & 1);
}

static int64_t sum(int64_t a, int64_t b)
{
    return (int64_t)((uint64_t)a + (uint64_t)b);
}

static mr_err wrong(const struct kafka_walk *walk, const char *why)
{
    return mr_fail(MR_INVALID, "record %d of the batch: %s", walk->count, why);
}

/* ---- what the rules say of a record ---- */

static void fault(struct kafka_walk *walk, bool no_key, int64_t timestamp)
{
    if (walk->fault_count < KAFKA_WALK_FAULTS_MAX)
        walk->faults[walk->fault_count] = (struct kafka_walk_fault){walk->count, no_key, timestamp};
    walk->fault_count++;
}

static inline void record_seen(struct kafka_walk *walk, int64_t timestamp, bool no_key)
{
    if (timestamp > walk->time_max)
        walk->time_max = timestamp;
    if (no_key && walk->rules.keys)
        fault(walk, true, timestamp);
    else if ((timestamp < walk->rules.time_min || timestamp > walk->rules.time_max) &&
             timestamp != -1)
        fault(walk, false, timestamp);
    walk->count++;
}

/* ---- a whole record ---- */

/* Behind the number, or NULL when it is not whole, or longer than it may be. */
static inline const uint8_t *number(const uint8_t *at, const uint8_t *end, int shift_max,
                                    uint64_t *out)
{
    uint64_t value;

    if (at == NULL || at == end)
        return NULL;
    value = *at++;
    if (__builtin_expect(value < 0x80, 1)) {
        *out = value;
        return at;
    }
    value &= 0x7f;
    for (int shift = 7; shift <= shift_max && at != end; shift += 7) {
        uint64_t byte = *at++;
        value |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            *out = value;
            return at;
        }
    }
    return NULL;
}

static inline const uint8_t *field(const uint8_t *at, const uint8_t *end, bool *null)
{
    uint64_t length;

    at = number(at, end, SHIFT_MAX, &length);
    if (at == NULL)
        return NULL;
    *null = length == 1; /* -1 */
    if (*null)
        return at;
    if ((length & 1) != 0 || length >> 1 > (uint64_t)(end - at))
        return NULL;
    return at + (length >> 1);
}

/* Behind the record, or NULL: then it is to be walked in steps. */
static inline const uint8_t *record_whole(struct kafka_walk *walk, const uint8_t *at,
                                          const uint8_t *end)
{
    uint64_t length, time, offset, headers;
    bool no_key, null;

    at = number(at, end, SHIFT_MAX, &length);
    if (at == NULL || (length & 1) != 0 || length >> 1 > (uint64_t)(end - at) || length == 0)
        return NULL;
    end = at + (length >> 1);
    at = number(at + 1, end, TIME_SHIFT_MAX, &time); /* behind the attributes */
    at = number(at, end, SHIFT_MAX, &offset);
    if (at == NULL || offset != (uint64_t)walk->count << 1)
        return NULL;
    at = field(at, end, &no_key);
    at = field(at, end, &null);
    at = number(at, end, SHIFT_MAX, &headers);
    if (at == NULL || (headers & 1) != 0)
        return NULL;
    for (headers >>= 1; headers > 0; headers--) {
        at = field(at, end, &null);
        if (at == NULL || null)
            return NULL;
        at = field(at, end, &null);
    }
    if (at != end)
        return NULL;
    record_seen(walk, sum(walk->base_timestamp, unzigzag(time)), no_key);
    return at;
}

/* ---- a record in steps ---- */

/* A field of this length begins; -1 is null, if that is allowed. */
static mr_err field_begins(struct kafka_walk *walk, int64_t length, bool nullable)
{
    if (length == -1 && nullable)
        return MR_OK;
    if (length < 0 || length > walk->left)
        return wrong(walk, "a field's length does not fit the record");
    walk->skip = length;
    return MR_OK;
}

static mr_err record_ends(struct kafka_walk *walk)
{
    if (walk->skip != walk->left)
        return wrong(walk, "its length does not fit its fields");
    record_seen(walk, walk->timestamp, walk->no_key);
    walk->phase = LENGTH;
    return MR_OK;
}

static mr_err headers_next(struct kafka_walk *walk, bool more)
{
    walk->phase = HEADER_KEY;
    return more ? MR_OK : record_ends(walk);
}

/* One number has been read. */
static mr_err step(struct kafka_walk *walk, int64_t value)
{
    mr_err err;

    switch ((enum phase)walk->phase) {
    case LENGTH:
        walk->left = value;
        walk->phase = ATTRIBUTES;
        return value > 0 && value <= INT32_MAX ? MR_OK : wrong(walk, "an impossible length");
    case ATTRIBUTES:
    case TIME:
        walk->timestamp = sum(walk->base_timestamp, value);
        walk->phase = OFFSET;
        return MR_OK;
    case OFFSET:
        walk->phase = KEY;
        return value == walk->count ? MR_OK : wrong(walk, "its offset is not the one behind");
    case KEY:
        walk->no_key = value == -1;
        walk->phase = VALUE;
        return field_begins(walk, value, true);
    case VALUE:
        walk->phase = HEADERS;
        return field_begins(walk, value, true);
    case HEADERS:
        walk->headers = value;
        if (value < 0 || value > walk->left)
            return wrong(walk, "an impossible number of headers");
        return headers_next(walk, value > 0);
    case HEADER_KEY:
        walk->phase = HEADER_VALUE;
        return field_begins(walk, value, false);
    case HEADER_VALUE:
        err = field_begins(walk, value, true);
        return err == MR_OK ? headers_next(walk, --walk->headers > 0) : err;
    }
    return MR_OK;
}

static mr_err step_byte(struct kafka_walk *walk, uint8_t byte)
{
    int shift_max = walk->phase == TIME ? TIME_SHIFT_MAX : SHIFT_MAX;
    int64_t value;

    if (walk->phase != LENGTH && walk->left-- == 0)
        return wrong(walk, "its fields are longer than it is");
    if (walk->phase == ATTRIBUTES) { /* none are defined */
        walk->phase = TIME;
        return MR_OK;
    }
    walk->value |= (uint64_t)(byte & 0x7f) << walk->shift;
    walk->shift += 7;
    if (byte >= 0x80)
        return walk->shift <= shift_max ? MR_OK : wrong(walk, "a number is too long");
    value = unzigzag(walk->value);
    walk->value = 0;
    walk->shift = 0;
    return step(walk, value);
}

/* ---- batches ---- */

void kafka_walk_begin(struct kafka_walk *walk, const struct kafka_walk_rules *rules,
                      int64_t base_timestamp)
{
    walk->rules = *rules;
    walk->base_timestamp = base_timestamp;
    walk->time_max = -1;
    walk->count = walk->fault_count = 0;
    walk->phase = LENGTH;
    walk->shift = 0;
    walk->value = 0;
    walk->skip = 0;
}

mr_err kafka_walk_piece(struct kafka_walk *walk, mr_str piece)
{
    const uint8_t *at = (const uint8_t *)piece.data,
                  *end = piece.length == 0 ? at : at + piece.length;
    mr_err err = MR_OK;

    while (at != end && err == MR_OK) {
        if (walk->skip > 0) {
            int64_t some = walk->skip < end - at ? walk->skip : end - at;
            at += some;
            walk->skip -= some;
            walk->left -= some;
            continue;
        }
        if (walk->phase == LENGTH && walk->shift == 0) {
            const uint8_t *behind = record_whole(walk, at, end);
            if (behind != NULL) {
                at = behind;
                continue;
            }
        }
        err = step_byte(walk, *at++);
    }
    return err;
}

mr_err kafka_walk_end(const struct kafka_walk *walk, int32_t count)
{
    if (walk->phase != LENGTH || walk->shift != 0 || walk->skip > 0)
        return wrong(walk, "it is cut short");
    if (walk->count != count)
        return mr_fail(MR_INVALID, "the batch has %d records, and says %d", walk->count, count);
    return MR_OK;
}

static mr_err unpacked(void *context, mr_str piece)
{
    return kafka_walk_piece(context, piece);
}

mr_err kafka_walk_batch(struct kafka_walk *walk, const struct kafka_walk_rules *rules,
                        const struct kafka_batch *batch, size_t bytes_max)
{
    mr_str packed = mr_str_slice(batch->bytes, KAFKA_RECORDS_HEADER_BYTES, batch->bytes.length);
    mr_err err;

    kafka_walk_begin(walk, rules, batch->base_timestamp);
    err = kafka_compress_undo_by_pieces(kafka_batch_codec(batch), packed, bytes_max, unpacked,
                                        walk);
    return err == MR_OK ? kafka_walk_end(walk, batch->count) : err;
}
