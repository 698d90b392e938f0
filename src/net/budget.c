/* net/budget.c: the bytes that large frames of many connections may have together while they arrive.
 *
 *   enter() --no room--> waiting --serve()--> let in --told, or its connection ends: leave()--> gone
 *      +-------------------- room ---------------^
 *
 * A frame counts with all its bytes from the moment it is let in. Sources (addresses) that wait are served in
 * turn, and one has at most half of the budget, so the frames of one keep nobody else's out; of one source the
 * smallest comes first. Whose turn it is, but finds no room, is not passed over by others. A frame for which others
 * wait has a time to arrive, and ends sooner when nothing comes of it. */
#include "net/conn.h"

enum {
    ARRIVE_US = 30000000, /* a frame for which others wait */
    STALL_US = 5000000,   /* nothing comes of it */
    LOOK_US = 1000000,
};

struct net_budget_source {
    struct net_budget *budget;
    size_t bytes, frames;           /* let in; frames: waiting ones as well */
    struct net_budget_frame *first; /* of those that wait: the smallest */
    struct net_budget_source *next; /* in the line of those that wait */
    bool in_line;
    int64_t waits_since_us; /* in the line, without one of its frames let in */
    char key[16];
    size_t key_bytes;
};
struct net_budget {
    struct mr_loop *loop;
    size_t bytes_max, bytes;
    struct mr_map sources;
    struct net_budget_source *first, **last; /* the line */
    struct net_budget_frame *let_in;
    int64_t
        full_since_us; /* the turn's frame finds no room; -1: nobody is kept waiting by others */
    struct mr_timer timer;
};

/* ---- the line ---- */

static void line_add(struct net_budget *budget, struct net_budget_source *source)
{
    source->next = NULL;
    *budget->last = source;
    budget->last = &source->next;
    source->in_line = true;
}

static struct net_budget_source *line_take(struct net_budget *budget)
{
    struct net_budget_source *source = budget->first;
    budget->first = source->next;
    if (budget->first == NULL)
        budget->last = &budget->first;
    source->in_line = false;
    return source;
}

static void line_put_back(struct net_budget *budget, struct net_budget_source *source)
{
    source->next = budget->first;
    if (budget->first == NULL)
        budget->last = &source->next;
    budget->first = source;
    source->in_line = true;
}

/* A source whose frames have all left the line without their turn. */
static void line_leave(struct net_budget *budget, struct net_budget_source *source)
{
    struct net_budget_source **link = &budget->first;
    while (*link != source)
        link = &(*link)->next;
    *link = source->next;
    if (*link == NULL)
        budget->last = link;
    source->in_line = false;
}

/* ---- frames ---- */

static void frame_let_in(struct net_budget *budget, struct net_budget_source *source)
{
    struct net_budget_frame *frame = source->first;
    bool waited = frame->waits;

    source->first = frame->next;
    source->bytes += frame->bytes;
    budget->bytes += frame->bytes;
    source->waits_since_us = frame->since_us = mr_loop_now_us(budget->loop);
    frame->counts = true;
    frame->waits = false;
    frame->previous = NULL;
    frame->next = budget->let_in;
    if (frame->next != NULL)
        frame->next->previous = frame;
    budget->let_in = frame;
    if (waited)
        net_conn_let_in(frame->conn);
}

/* A frame that is alone is let in whatever its size. */
static bool is_within_share(const struct net_budget *budget, const struct net_budget_source *source)
{
    return source->bytes == 0 || source->bytes + source->first->bytes <= budget->bytes_max / 2;
}

static bool has_room(const struct net_budget *budget, size_t bytes)
{
    return budget->bytes == 0 || budget->bytes + bytes <= budget->bytes_max;
}

static void serve(struct net_budget *budget)
{
    struct net_budget_source *passed = NULL; /* the first that waits for its own frames alone */

    while (budget->first != NULL && budget->first != passed) {
        struct net_budget_source *source = line_take(budget);
        if (!is_within_share(budget, source)) {
            passed = passed == NULL ? source : passed;
            line_add(budget, source);
            continue;
        }
        if (!has_room(budget, source->first->bytes)) {
            line_put_back(budget, source);
            if (budget->full_since_us < 0)
                budget->full_since_us = mr_loop_now_us(budget->loop);
            break;
        }
        passed = NULL;
        budget->full_since_us = -1;
        frame_let_in(budget, source);
        if (source->first != NULL)
            line_add(budget, source);
    }
    if (budget->first == NULL || budget->first == passed)
        budget->full_since_us = -1;
    if (budget->first == NULL)
        mr_timer_stop(&budget->timer);
    else if (budget->timer.loop == NULL)
        mr_timer_start(budget->loop, &budget->timer, LOOK_US);
}

static bool is_late(const struct net_budget *budget, const struct net_budget_frame *frame)
{
    int64_t from_us = frame->source->in_line ? frame->source->waits_since_us
                                             : budget->full_since_us;
    int64_t waited_us;

    if (from_us < 0)
        return false;
    waited_us = mr_loop_now_us(budget->loop) -
                (from_us < frame->since_us ? frame->since_us : from_us);
    return waited_us >= ARRIVE_US || (waited_us >= STALL_US && net_conn_is_read(frame->conn) &&
                                      net_conn_quiet_us(frame->conn) >= STALL_US);
}

static void look(struct mr_timer *timer)
{
    struct net_budget *budget = mr_container(timer, struct net_budget, timer);
    struct net_budget_frame *frame = budget->let_in;

    if (budget->first != NULL)
        mr_timer_start(budget->loop, timer, LOOK_US);
    while (frame != NULL) {
        bool late = is_late(budget, frame);
        if (late)
            net_conn_too_slow(frame->conn, frame->bytes);
        frame = late ? budget->let_in : frame->next; /* the list has changed */
    }
}

static struct net_budget_source *source_of(struct net_budget *budget, const struct net_conn *conn)
{
    char key[16];
    size_t bytes = net_conn_source(conn, key);
    struct net_budget_source *source = mr_map_get(&budget->sources, mr_str_of(key, bytes));

    if (source != NULL)
        return source;
    source = mr_new(struct net_budget_source);
    source->budget = budget;
    memcpy(source->key, key, bytes);
    source->key_bytes = bytes;
    mr_map_put(&budget->sources, mr_str_of(key, bytes), source);
    return source;
}

/* Before the larger ones. */
static void frame_line_up(struct net_budget_source *source, struct net_budget_frame *frame)
{
    struct net_budget_frame **link = &source->first;

    while (*link != NULL && (*link)->bytes <= frame->bytes)
        link = &(*link)->next;
    frame->next = *link;
    *link = frame;
}

/* ---- what connections say ---- */

void net_budget_enter(struct net_budget *budget, struct net_budget_frame *frame,
                      struct net_conn *conn, size_t bytes)
{
    struct net_budget_source *source;

    if (frame->source != NULL)
        return;
    source = source_of(budget, conn);
    *frame = (struct net_budget_frame){.source = source, .conn = conn, .bytes = bytes};
    source->frames++;
    frame_line_up(source, frame);
    if (!source->in_line) {
        source->waits_since_us = mr_loop_now_us(budget->loop);
        line_add(budget, source);
    }
    serve(budget);
    frame->waits = !frame->counts;
}

void net_budget_leave(struct net_budget_frame *frame)
{
    struct net_budget_source *source = frame->source;
    struct net_budget *budget;

    if (source == NULL)
        return;
    budget = source->budget;
    if (frame->counts) {
        if (frame->previous != NULL)
            frame->previous->next = frame->next;
        else
            budget->let_in = frame->next;
        if (frame->next != NULL)
            frame->next->previous = frame->previous;
        budget->bytes -= frame->bytes;
        source->bytes -= frame->bytes;
    } else {
        struct net_budget_frame **link = &source->first;
        while (*link != frame)
            link = &(*link)->next;
        *link = frame->next;
        if (source->first == NULL)
            line_leave(budget, source);
    }
    *frame = (struct net_budget_frame){0};
    if (--source->frames == 0) {
        mr_map_remove(&budget->sources, mr_str_of(source->key, source->key_bytes));
        mr_free(source);
    }
    serve(budget);
}

struct net_budget *net_budget_new(struct mr_loop *loop, size_t bytes_max)
{
    struct net_budget *budget = mr_new(struct net_budget);
    budget->loop = loop;
    budget->bytes_max = bytes_max;
    budget->last = &budget->first;
    budget->full_since_us = -1;
    budget->timer.run = look;
    return budget;
}

void net_budget_free(struct net_budget *budget)
{
    if (budget == NULL)
        return;
    mr_assert(budget->sources.count == 0);
    mr_timer_stop(&budget->timer);
    mr_map_fini(&budget->sources);
    mr_free(budget);
}

size_t net_budget_bytes(const struct net_budget *budget)
{
    return budget->bytes;
}
