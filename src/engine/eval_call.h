/* engine/eval_call.h: what a kernel sees of one call over many rows. Private to evaluation.
 *
 * A kernel writes out's values for the listed rows. Of a STRICT function the list holds only rows in
 * which no argument is NULL, and out is valid there already; an OWN kernel gets all rows and sets
 * `valid` itself. A kernel makes a row NULL by valid[row] = 0. */
#ifndef ENGINE_EVAL_CALL_H
#define ENGINE_EVAL_CALL_H

#include "engine/eval.h"

/* What a kernel keeps from chunk to chunk: a compiled pattern, a reader. */
struct engine_state {
    void (*free)(struct engine_state *state);
};

struct engine_call {
    struct mr_arena *arena;
    struct engine_rows_bad *bad;
    const struct sql_expr *expr;
    const struct data_column **args;
    uint32_t arg_count;
    struct data_column *out; /* a kernel may put another column here (lists do) */
    const uint16_t *rows;
    uint32_t count;
    bool ansi;
    const bool *constant;        /* one an argument: all rows are equal (IN: row 0 only) */
    struct engine_state **state; /* the node's own; NULL at first */
    char *text, *text_end;       /* room for texts, engine_call_room() */
};
typedef void engine_kernel(struct engine_call *call);

#define EACH_ROW(call, row) \
    for (uint32_t at_ = 0, row; at_ < (call)->count && (row = (call)->rows[at_], true); at_++)

/* Room for a text of at most `bytes`, in the arena; engine_call_text() then takes what was used. */
char *engine_call_room(struct engine_call *call, size_t bytes);
static inline mr_str engine_call_text(struct engine_call *call, size_t bytes)
{
    mr_str text = mr_str_of(call->text, bytes);
    call->text += bytes;
    return text;
}
mr_str engine_call_copy(struct engine_call *call, mr_str text);
/* The row fails: marked bad with this sentence, its value NULL. */
void engine_call_fail(struct engine_call *call, uint32_t row, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- shared between the kernels' files ---- */
engine_kernel engine_cast;
#define FUNCTION(id, name, args, result, nulls, about) engine_kernel engine_kernel_##id;
#define ALIAS(name, id)
#include "sql/functions.def"

/* One text as a number by Spark's CAST; false: it is none. A `fraction` is allowed and dropped. */
bool engine_cast_long(mr_str text, bool fraction, int64_t *out);
bool engine_cast_double(mr_str text, double *out);
/* Bytes of the UTF-8 character at `at`; 1 for a stray byte. */
static inline size_t engine_utf8_step(unsigned char lead)
{
    return lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}
size_t engine_utf8_length(mr_str text);
/* Checks a constant regular expression when the program is made. */
mr_err engine_regex_check(mr_str pattern);

#endif
