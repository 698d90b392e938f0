/* kafka/error.c: the protocol's error codes as words, and as our own errors. */
#include "kafka/messages.h"

struct row {
    int16_t code;
    bool retriable;
    mr_err err;
    const char *name, *text;
};
static const struct row rows[] = {
#define ERROR(code, name, retriable, err, text) {code, retriable, MR_##err, #name, text},
#include "kafka/errors.def"
};
static const struct row unknown = {0, false, MR_IO, "?",
                                   "The broker answered with an unknown error."};

static const struct row *row_find(int16_t code)
{
    for (size_t i = 0; i < mr_count_of(rows); i++) {
        if (rows[i].code == code)
            return &rows[i];
    }
    return &unknown;
}

const char *kafka_error_name(int16_t code)
{
    return row_find(code)->name;
}

const char *kafka_error_text(int16_t code)
{
    return row_find(code)->text;
}

bool kafka_error_retriable(int16_t code)
{
    return row_find(code)->retriable;
}

mr_err kafka_error_to_err(int16_t code)
{
    return row_find(code)->err;
}

mr_err kafka_error_fail(int16_t code, const char *about)
{
    const struct row *row = row_find(code);
    mr_assert(code != KAFKA_ERROR_NONE);
    return mr_fail(row->err, "%s: %s (%d): %s", about, row->name, code, row->text);
}
