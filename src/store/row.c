/* store/row.c: packing rows, folding them, purging them. Pure functions: RocksDB's threads call them. */
#include "store/row.h"

/* ---- packing ---- */
void store_row_begin(struct mr_buf *out, const struct store_row_head *head)
{
    mr_buf_u8(out, head->flags);
    mr_buf_le64(out, (uint64_t)head->timestamp);
    if (head->flags & STORE_ROW_GRACE)
        mr_buf_uvarint(out, head->grace_s);
    if (head->flags & STORE_ROW_EXPIRING) {
        mr_buf_uvarint(out, head->ttl_s);
        mr_buf_uvarint(out, head->expiry_s);
    }
    if (head->flags & STORE_ROW_DELETED) {
        mr_buf_le64(out, (uint64_t)head->deletion);
        mr_buf_uvarint(out, head->deleted_at_s);
    }
}

void store_row_cell(struct mr_buf *out, const struct store_row_head *head,
                    const struct store_cell *cell)
{
    bool own_time = cell->timestamp != head->timestamp;
    uint8_t flags = (uint8_t)((cell->flags & ~STORE_CELL_TIMESTAMP) |
                              (own_time ? STORE_CELL_TIMESTAMP : 0));
    mr_buf_uvarint(out, cell->column);
    mr_buf_u8(out, flags);
    if (own_time)
        mr_buf_varint(out, (int64_t)((uint64_t)cell->timestamp - (uint64_t)head->timestamp));
    if (flags & STORE_CELL_EXPIRING)
        mr_buf_uvarint(out, cell->ttl_s);
    if (flags & (STORE_CELL_EXPIRING | STORE_CELL_TOMBSTONE | STORE_CELL_CLEARED))
        mr_buf_uvarint(out, cell->expiry_s);
    if (flags & STORE_CELL_PATH) {
        mr_buf_uvarint(out, cell->path.length);
        mr_buf_str(out, cell->path);
    }
    if (!(flags & (STORE_CELL_TOMBSTONE | STORE_CELL_CLEARED))) {
        mr_buf_uvarint(out, cell->value.length);
        mr_buf_str(out, cell->value);
    }
}

bool store_row_open(struct store_row_reader *reader, mr_str packed)
{
    struct mr_in *in = &reader->in;
    struct store_row_head *head = &reader->head;
    *in = mr_in_str(packed);
    memset(head, 0, sizeof(*head));
    head->flags = mr_in_u8(in);
    head->timestamp = (int64_t)mr_in_le64(in);
    if (head->flags & STORE_ROW_GRACE)
        head->grace_s = (uint32_t)mr_in_uvarint(in);
    if (head->flags & STORE_ROW_EXPIRING) {
        head->ttl_s = (uint32_t)mr_in_uvarint(in);
        head->expiry_s = (uint32_t)mr_in_uvarint(in);
    }
    head->deletion = INT64_MIN;
    if (head->flags & STORE_ROW_DELETED) {
        head->deletion = (int64_t)mr_in_le64(in);
        head->deleted_at_s = (uint32_t)mr_in_uvarint(in);
    }
    return in->err == MR_OK;
}

bool store_row_next(struct store_row_reader *reader, struct store_cell *cell)
{
    struct mr_in *in = &reader->in;
    if (in->at == in->end || in->err != MR_OK)
        return false;
    memset(cell, 0, sizeof(*cell));
    cell->column = (uint32_t)mr_in_uvarint(in);
    cell->flags = mr_in_u8(in);
    cell->timestamp = reader->head.timestamp;
    if (cell->flags & STORE_CELL_TIMESTAMP)
        cell->timestamp = (int64_t)((uint64_t)cell->timestamp + (uint64_t)mr_in_varint(in));
    cell->flags &= (uint8_t)~STORE_CELL_TIMESTAMP;
    if (cell->flags & STORE_CELL_EXPIRING)
        cell->ttl_s = (uint32_t)mr_in_uvarint(in);
    if (cell->flags & (STORE_CELL_EXPIRING | STORE_CELL_TOMBSTONE | STORE_CELL_CLEARED))
        cell->expiry_s = (uint32_t)mr_in_uvarint(in);
    if (cell->flags & STORE_CELL_PATH)
        cell->path = mr_in_take(in, mr_in_uvarint(in));
    if (!(cell->flags & (STORE_CELL_TOMBSTONE | STORE_CELL_CLEARED)))
        cell->value = mr_in_take(in, mr_in_uvarint(in));
    return in->err == MR_OK;
}

/* ---- folding ---- */

/* Order of cells in a row: column, its own deletion, then its paths. */
static int compare_places(const struct store_cell *a, const struct store_cell *b)
{
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    bool a_cleared = (a->flags & STORE_CELL_CLEARED) != 0,
         b_cleared = (b->flags & STORE_CELL_CLEARED) != 0;
    if (a_cleared != b_cleared)
        return a_cleared ? -1 : 1;
    return mr_str_compare(a->path, b->path);
}

/* Whether `a` wins over `b` at the same place: the later timestamp; then a tombstone; then what will
 * expire over what stays, the later expiry; then the larger value. As Cassandra settles it. */
static bool wins(const struct store_cell *a, const struct store_cell *b)
{
    if (a->timestamp != b->timestamp)
        return a->timestamp > b->timestamp;
    const int dying = STORE_CELL_TOMBSTONE | STORE_CELL_EXPIRING | STORE_CELL_CLEARED;
    bool a_dies = (a->flags & dying) != 0, b_dies = (b->flags & dying) != 0;
    if (a_dies != b_dies)
        return a_dies;
    bool a_dead = (a->flags & STORE_CELL_TOMBSTONE) != 0,
         b_dead = (b->flags & STORE_CELL_TOMBSTONE) != 0;
    if (a_dead != b_dead)
        return a_dead;
    if (a->expiry_s != b->expiry_s)
        return a->expiry_s > b->expiry_s;
    int order = mr_str_compare(a->value, b->value);
    if (order != 0)
        return order > 0;
    return a->ttl_s >= b->ttl_s;
}

/* Two increments of one counter; `sum` is the caller's room for the value. */
static void add_counters(const struct store_cell *a, const struct store_cell *b, uint8_t sum[8],
                         struct store_cell *out)
{
    struct mr_in left = mr_in_str(a->value), right = mr_in_str(b->value);
    uint64_t total = mr_in_be64(&left) + mr_in_be64(&right);
    for (int i = 0; i < 8; i++)
        sum[i] = (uint8_t)(total >> (56 - i * 8));
    *out = a->timestamp >= b->timestamp ? *a : *b;
    out->value = mr_str_of(sum, 8);
}

static bool live_wins(const struct store_row_head *a, const struct store_row_head *b)
{
    if (!(b->flags & STORE_ROW_LIVE) || !(a->flags & STORE_ROW_LIVE))
        return (a->flags & STORE_ROW_LIVE) != 0;
    if (a->timestamp != b->timestamp)
        return a->timestamp > b->timestamp;
    bool a_expires = (a->flags & STORE_ROW_EXPIRING) != 0,
         b_expires = (b->flags & STORE_ROW_EXPIRING) != 0;
    if (a_expires != b_expires)
        return a_expires;
    return a->expiry_s >= b->expiry_s;
}

static void fold_heads(const struct store_row_head *a, const struct store_row_head *b,
                       struct store_row_head *out)
{
    memset(out, 0, sizeof(*out));
    const struct store_row_head *dead = a->deletion > b->deletion ||
                                                (a->deletion == b->deletion &&
                                                 a->deleted_at_s >= b->deleted_at_s)
                                            ? a
                                            : b;
    out->deletion = dead->deletion;
    out->deleted_at_s = dead->deleted_at_s;
    if (dead->flags & STORE_ROW_DELETED)
        out->flags |= STORE_ROW_DELETED;
    const struct store_row_head *live = live_wins(a, b) ? a : b;
    bool lives = (live->flags & STORE_ROW_LIVE) &&
                 (!(out->flags & STORE_ROW_DELETED) || live->timestamp > out->deletion);
    /* Without a liveness the base is free; the greater one keeps folding commutative. */
    out->timestamp = a->timestamp > b->timestamp ? a->timestamp : b->timestamp;
    if (lives) {
        out->flags |= live->flags & (STORE_ROW_LIVE | STORE_ROW_EXPIRING);
        out->timestamp = live->timestamp;
        out->ttl_s = live->ttl_s;
        out->expiry_s = live->expiry_s;
    }
    out->flags |= (a->flags | b->flags) & STORE_ROW_GRACE;
    out->grace_s = a->grace_s > b->grace_s ? a->grace_s : b->grace_s;
}

struct folder {
    struct mr_buf *out;
    struct store_row_head head;
    uint32_t cleared_column; /* the column whose paths a deletion shadows */
    int64_t cleared;
    bool has_cleared;
};

static void emit(struct folder *folder, const struct store_cell *cell)
{
    if ((folder->head.flags & STORE_ROW_DELETED) && cell->timestamp <= folder->head.deletion)
        return;
    if (cell->flags & STORE_CELL_CLEARED) {
        folder->has_cleared = true;
        folder->cleared_column = cell->column;
        folder->cleared = cell->timestamp;
    } else if (folder->has_cleared && folder->cleared_column == cell->column &&
               cell->timestamp <= folder->cleared) {
        return;
    }
    store_row_cell(folder->out, &folder->head, cell);
}

/* A counter's increments count one by one against a deletion, so they are judged before they add up. */
static bool is_gone(const struct folder *folder, const struct store_cell *cell)
{
    return (folder->head.flags & STORE_ROW_DELETED) && cell->timestamp <= folder->head.deletion;
}

static void fold_cells(struct folder *folder, const struct store_cell *a,
                       const struct store_cell *b)
{
    if ((a->flags & STORE_CELL_COUNTER) && (b->flags & STORE_CELL_COUNTER) && !is_gone(folder, a) &&
        !is_gone(folder, b)) {
        struct store_cell sum;
        uint8_t bytes[8];
        add_counters(a, b, bytes, &sum);
        emit(folder, &sum);
    } else {
        emit(folder, wins(a, b) ? a : b);
    }
}

bool store_row_fold(mr_str a, mr_str b, struct mr_buf *out)
{
    struct store_row_reader left, right;
    struct store_cell x, y;
    struct folder folder = {.out = out};
    if (!store_row_open(&left, a) || !store_row_open(&right, b))
        return false;
    fold_heads(&left.head, &right.head, &folder.head);
    store_row_begin(out, &folder.head);
    bool more_x = store_row_next(&left, &x), more_y = store_row_next(&right, &y);
    while (more_x || more_y) {
        int order = !more_x ? 1 : !more_y ? -1 : compare_places(&x, &y);
        if (order < 0)
            emit(&folder, &x);
        else if (order > 0)
            emit(&folder, &y);
        else
            fold_cells(&folder, &x, &y);
        if (order <= 0)
            more_x = store_row_next(&left, &x);
        if (order >= 0)
            more_y = store_row_next(&right, &y);
    }
    return left.in.err == MR_OK && right.in.err == MR_OK && out->err == MR_OK;
}

/* ---- purging ---- */
static bool is_over(uint32_t at_s, uint32_t grace_s, int64_t now_s)
{
    return (int64_t)at_s + grace_s <= now_s;
}

int store_row_purge(mr_str packed, int64_t now_s, struct mr_buf *changed)
{
    struct store_row_reader reader;
    struct store_cell cell;
    if (!store_row_open(&reader, packed) || !(reader.head.flags & STORE_ROW_GRACE))
        return 0;
    struct store_row_head head = reader.head;
    bool change = false, holds = false;
    if ((head.flags & STORE_ROW_DELETED) && is_over(head.deleted_at_s, head.grace_s, now_s)) {
        head.flags &= (uint8_t)~STORE_ROW_DELETED;
        change = true;
    }
    if ((head.flags & STORE_ROW_EXPIRING) && is_over(head.expiry_s, head.grace_s, now_s)) {
        head.flags &= (uint8_t) ~(STORE_ROW_EXPIRING | STORE_ROW_LIVE);
        change = true;
    }
    store_row_begin(changed, &head);
    while (store_row_next(&reader, &cell)) {
        const int dying = STORE_CELL_TOMBSTONE | STORE_CELL_EXPIRING | STORE_CELL_CLEARED;
        if ((cell.flags & dying) && is_over(cell.expiry_s, head.grace_s, now_s)) {
            change = true;
            continue;
        }
        if ((cell.flags & STORE_CELL_EXPIRING) && cell.expiry_s <= now_s) {
            cell.flags = (uint8_t)((cell.flags & ~STORE_CELL_EXPIRING) | STORE_CELL_TOMBSTONE);
            change = true;
        }
        holds = true;
        store_row_cell(changed, &head, &cell);
    }
    if (reader.in.err != MR_OK || !change)
        return 0;
    return holds || (head.flags & (STORE_ROW_LIVE | STORE_ROW_DELETED)) ? 2 : 1;
}

/* ---- deleted ranges ---- */
void store_range_write(struct mr_buf *out, const struct store_range *range)
{
    mr_buf_le64(out, (uint64_t)range->timestamp);
    mr_buf_le32(out, range->deleted_at_s);
    mr_buf_le32(out, range->grace_s);
}

bool store_range_read(mr_str value, struct store_range *out)
{
    struct mr_in in = mr_in_str(value);
    out->timestamp = (int64_t)mr_in_le64(&in);
    out->deleted_at_s = mr_in_le32(&in);
    out->grace_s = mr_in_le32(&in);
    return in.err == MR_OK;
}
