/* store/function.c: scalar functions, casts, arithmetic and aggregates. */
#include "store/term.h"

#include <math.h>

/* ---- small values ---- */
static struct cql_value value_be(struct mr_arena *arena, uint64_t value, int bytes)
{
    uint8_t *data = mr_arena_alloc(arena, (size_t)bytes);
    for (int i = 0; i < bytes; i++)
        data[i] = (uint8_t)(value >> ((bytes - 1 - i) * 8));
    return cql_value_of(data, (size_t)bytes);
}

struct cql_value store_value_i64(struct mr_arena *arena, int64_t value)
{
    return value_be(arena, (uint64_t)value, 8);
}

struct cql_value store_value_i32(struct mr_arena *arena, int32_t value)
{
    return value_be(arena, (uint64_t)(int64_t)value, 4);
}

struct cql_value store_value_text(struct mr_arena *arena, mr_str text)
{
    mr_str copy = mr_arena_str(arena, text);
    return cql_value_of(copy.data, copy.length);
}

int64_t store_value_integer(struct cql_value value)
{
    uint64_t bits = value.length > 0 && value.data[0] >= 0x80 ? UINT64_MAX : 0;
    for (int32_t i = 0; i < value.length && i < 8; i++)
        bits = bits << 8 | value.data[i];
    return (int64_t)bits;
}

static double value_real(const struct cql_type *type, struct cql_value value)
{
    if (type->id == CQL_TYPE_FLOAT) {
        uint32_t bits = (uint32_t)store_value_integer(value);
        float narrow;
        memcpy(&narrow, &bits, 4);
        return (double)narrow;
    }
    if (type->id == CQL_TYPE_DOUBLE) {
        int64_t bits = store_value_integer(value);
        double wide;
        memcpy(&wide, &bits, 8);
        return wide;
    }
    return (double)store_value_integer(value);
}

static bool is_integer(const struct cql_type *type)
{
    return type->id == CQL_TYPE_TINYINT || type->id == CQL_TYPE_SMALLINT ||
           type->id == CQL_TYPE_INT || type->id == CQL_TYPE_BIGINT || type->id == CQL_TYPE_COUNTER;
}

static bool is_real(const struct cql_type *type)
{
    return type->id == CQL_TYPE_FLOAT || type->id == CQL_TYPE_DOUBLE;
}

static struct cql_value value_of_real(struct mr_arena *arena, const struct cql_type *type,
                                      double real)
{
    if (type->id == CQL_TYPE_FLOAT) {
        float narrow = (float)real;
        uint32_t bits;
        memcpy(&bits, &narrow, 4);
        return value_be(arena, bits, 4);
    }
    if (type->id == CQL_TYPE_DOUBLE) {
        uint64_t bits;
        memcpy(&bits, &real, 8);
        return value_be(arena, bits, 8);
    }
    if (!(real >= -9.2e18 && real <= 9.2e18))
        real = real > 0 ? 9.2e18 : real < 0 ? -9.2e18 : 0;
    return value_be(arena, (uint64_t)(int64_t)real, cql_type_bytes(type));
}

/* ---- times ---- */
enum { UUID_EPOCH_DAYS = 141427 }; /* from 1582-10-15 to 1970-01-01 */

void store_timeuuid(int64_t wall_us, uint64_t chance, uint8_t out[16])
{
    uint64_t ticks = (uint64_t)(wall_us * 10 + (int64_t)(chance % 10)) +
                     (uint64_t)UUID_EPOCH_DAYS * 86400 * 10000000;
    uint64_t low = chance * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t high = ticks << 32 | (ticks >> 16 & 0xffff0000) | (ticks >> 48 & 0x0fff) | 0x1000;
    low = (low & UINT64_C(0x3fffffffffffffff)) | UINT64_C(0x8000000000000000) |
          UINT64_C(0x010000000000);
    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(high >> (56 - i * 8));
        out[8 + i] = (uint8_t)(low >> (56 - i * 8));
    }
}

/* Milliseconds since 1970 of a timeuuid, timestamp or date. */
static int64_t value_ms(const struct cql_type *type, struct cql_value value)
{
    if (type->id == CQL_TYPE_TIMEUUID && value.length == 16) {
        uint64_t high = (uint64_t)store_value_integer(cql_value_of(value.data, 8));
        uint64_t ticks = (high & 0x0fff) << 48 | (high & 0xffff0000) << 16 | high >> 32;
        return ((int64_t)ticks - (int64_t)UUID_EPOCH_DAYS * 86400 * 10000000) / 10000;
    }
    if (type->id == CQL_TYPE_DATE && value.length == 4)
        return ((int64_t)(uint32_t)store_value_integer(value) - INT64_C(0x80000000)) * 86400000;
    return store_value_integer(value);
}

static int64_t floor_days(int64_t ms)
{
    return ms / 86400000 - (ms % 86400000 < 0);
}

/* What every function of functions.def takes. */
#define CALL_ARGUMENTS                                         \
    const struct store_scope *scope __attribute__((unused)),   \
        const struct store_term *term __attribute__((unused)), \
        const struct cql_value *args __attribute__((unused)), struct cql_value *out

static mr_err call_now(CALL_ARGUMENTS)
{
    uint8_t *bytes = mr_arena_alloc(scope->arena, 16);
    uint64_t chance;
    mr_entropy(&chance, sizeof(chance));
    store_timeuuid(scope->now_us, chance, bytes);
    *out = cql_value_of(bytes, 16);
    return MR_OK;
}

static mr_err call_uuid(CALL_ARGUMENTS)
{
    uint8_t *bytes = mr_arena_alloc(scope->arena, 16);
    mr_entropy(bytes, 16);
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    *out = cql_value_of(bytes, 16);
    return MR_OK;
}

static mr_err call_current_timestamp(CALL_ARGUMENTS)
{
    *out = store_value_i64(scope->arena, scope->now_us / 1000);
    return MR_OK;
}

static mr_err call_current_date(CALL_ARGUMENTS)
{
    *out = value_be(scope->arena,
                    (uint64_t)(floor_days(scope->now_us / 1000) + INT64_C(0x80000000)), 4);
    return MR_OK;
}

static mr_err call_current_time(CALL_ARGUMENTS)
{
    *out = store_value_i64(scope->arena, scope->now_us % INT64_C(86400000000) * 1000);
    return MR_OK;
}

static struct cql_value bound_timeuuid(struct mr_arena *arena, int64_t ms, bool greatest)
{
    uint8_t *bytes = mr_arena_alloc(arena, 16);
    store_timeuuid(ms * 1000 + (greatest ? 999 : 0), greatest ? 9 : 0, bytes);
    memset(bytes + 8, greatest ? 0x7f : 0x80, 8);
    return cql_value_of(bytes, 16);
}

static mr_err call_min_timeuuid(CALL_ARGUMENTS)
{
    *out = bound_timeuuid(scope->arena, store_value_integer(args[0]), false);
    return MR_OK;
}

static mr_err call_max_timeuuid(CALL_ARGUMENTS)
{
    *out = bound_timeuuid(scope->arena, store_value_integer(args[0]), true);
    return MR_OK;
}

static mr_err call_to_date(CALL_ARGUMENTS)
{
    int64_t days = floor_days(value_ms(term->args[0]->type, args[0]));
    *out = value_be(scope->arena, (uint64_t)(days + INT64_C(0x80000000)), 4);
    return MR_OK;
}

static mr_err call_to_timestamp(CALL_ARGUMENTS)
{
    *out = store_value_i64(scope->arena, value_ms(term->args[0]->type, args[0]));
    return MR_OK;
}

static mr_err call_to_unix(CALL_ARGUMENTS)
{
    *out = store_value_i64(scope->arena, value_ms(term->args[0]->type, args[0]));
    return MR_OK;
}

static mr_err call_to_json(CALL_ARGUMENTS)
{
    struct mr_buf text = {0};
    cql_value_json(&text, term->args[0]->type, args[0]);
    *out = store_value_text(scope->arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
    return MR_OK;
}

/* ---- numbers ---- */
static mr_err call_absolute(CALL_ARGUMENTS)
{
    if (is_integer(term->type)) {
        int64_t value = store_value_integer(args[0]);
        *out = value_be(scope->arena, value < 0 ? 0 - (uint64_t)value : (uint64_t)value,
                        cql_type_bytes(term->type));
    } else {
        *out = value_of_real(scope->arena, term->type, fabs(value_real(term->type, args[0])));
    }
    return MR_OK;
}

static mr_err call_exponential(CALL_ARGUMENTS)
{
    *out = value_of_real(scope->arena, term->type, exp(value_real(term->type, args[0])));
    return MR_OK;
}

static mr_err call_logarithm(CALL_ARGUMENTS)
{
    *out = value_of_real(scope->arena, term->type, log(value_real(term->type, args[0])));
    return MR_OK;
}

static mr_err call_logarithm10(CALL_ARGUMENTS)
{
    *out = value_of_real(scope->arena, term->type, log10(value_real(term->type, args[0])));
    return MR_OK;
}

static mr_err call_rounded(CALL_ARGUMENTS)
{
    if (is_integer(term->type))
        *out = args[0];
    else
        *out = value_of_real(scope->arena, term->type,
                             floor(value_real(term->type, args[0]) + 0.5));
    return MR_OK;
}

/* ---- collections ---- */
static void pick_elements(struct mr_arena *arena, const struct store_term *term,
                          struct cql_value map, uint32_t odd, struct cql_value *out)
{
    struct cql_elements elements = cql_elements_of(term->args[0]->type, map);
    struct cql_value element;
    struct mr_buf text = {0};
    mr_buf_be32(&text, elements.left / 2);
    for (uint32_t i = 0; cql_elements_next(&elements, &element); i++)
        if (i % 2 == odd)
            cql_write_value(&text, element);
    *out = store_value_text(arena, mr_buf_as_str(&text));
    mr_buf_fini(&text);
}

static mr_err call_map_keys(CALL_ARGUMENTS)
{
    pick_elements(scope->arena, term, args[0], 0, out);
    return MR_OK;
}

static mr_err call_map_values(CALL_ARGUMENTS)
{
    pick_elements(scope->arena, term, args[0], 1, out);
    return MR_OK;
}

static mr_err call_collection_count(CALL_ARGUMENTS)
{
    struct cql_elements elements = cql_elements_of(term->args[0]->type, args[0]);
    uint32_t count = term->args[0]->type->id == CQL_TYPE_MAP ? elements.left / 2 : elements.left;
    *out = store_value_i32(scope->arena, (int32_t)count);
    return MR_OK;
}

/* Bytes stay bytes: textAsBlob() and blobAsInt(), the latter with a check. */
static mr_err call_blob(CALL_ARGUMENTS)
{
    mr_err err = cql_value_check(term->type, args[0]);
    if (err != MR_OK)
        return store_fail(
            scope->fault, CQL_ERROR_INVALID,
            "In call to function system.%.*s, value 0x... is not a valid binary representation: %s",
            MR_STR_ARG(term->text), mr_why());
    *out = args[0];
    return MR_OK;
}

/* ---- the table ---- */
static const struct store_function functions[] = {
#define FUNCTION(name, args, result, code) {name, args, result, call_##code, STORE_AGGREGATE_NONE},
#define AGGREGATE(name, args, result, code) {name, args, result, NULL, STORE_AGGREGATE_##code},
#include "store/functions.def"
};
static const struct store_function blob_function = {"blob", "any", "any", call_blob,
                                                    STORE_AGGREGATE_NONE};

bool store_function_blob(mr_str name, const struct cql_type **arg, const struct cql_type **result)
{
    struct mr_arena none;
    char text[64];
    size_t length = 0;
    for (size_t i = 0; i < name.length && length < sizeof(text); i++)
        if (name.data[i] != '_')
            text[length++] = name.data[i];
    mr_str plain = mr_str_of(text, length);
    bool from = mr_str_starts(plain, MR_STR("blobas"));
    if (!from && !mr_str_ends(plain, MR_STR("asblob")))
        return false;
    plain = from ? mr_str_slice(plain, 6, length) : mr_str_slice(plain, 0, length - 6);
    const struct cql_type *type = NULL;
    mr_arena_init(&none);
    bool known = cql_type_parse(&none, plain, &type) == MR_OK;
    type = known ? cql_type_scalar(type->id) : NULL;
    mr_arena_fini(&none);
    if (type == NULL)
        return false;
    *arg = from ? cql_type_scalar(CQL_TYPE_BLOB) : type;
    *result = from ? type : cql_type_scalar(CQL_TYPE_BLOB);
    return true;
}

static bool is_number(const struct cql_type *type)
{
    return is_integer(type) || is_real(type);
}

static bool arg_fits(const char *word, const struct cql_type *type)
{
    const struct cql_type *wanted = NULL;
    struct mr_arena none;
    if (strcmp(word, "any") == 0)
        return true;
    if (strcmp(word, "number") == 0)
        return is_number(type);
    if (strcmp(word, "map") == 0)
        return type->id == CQL_TYPE_MAP;
    if (strcmp(word, "collection") == 0)
        return cql_type_is_collection(type);
    mr_arena_init(&none);
    bool fits = cql_type_parse(&none, mr_str_from(word), &wanted) == MR_OK &&
                cql_type_equal(wanted, type);
    mr_arena_fini(&none);
    return fits;
}

const struct cql_type *store_function_arg(mr_str name, size_t index)
{
    const struct cql_type *arg = NULL, *result = NULL;
    if (index > 0)
        return NULL;
    if (store_function_blob(name, &arg, &result))
        return arg;
    for (size_t i = 0; i < mr_count_of(functions); i++) {
        struct mr_arena none;
        if (!mr_str_equal(name, mr_str_from(functions[i].name)))
            continue;
        mr_arena_init(&none);
        bool known = cql_type_parse(&none, mr_str_from(functions[i].args), &arg) == MR_OK;
        arg = known ? cql_type_scalar(arg->id) : NULL;
        mr_arena_fini(&none);
        return arg;
    }
    return NULL;
}

static const struct cql_type *result_type(struct mr_arena *arena,
                                          const struct store_function *function,
                                          const struct store_term *call)
{
    const struct cql_type *type = NULL;
    if (strcmp(function->result, "same") == 0)
        return call->args[0]->type->id == CQL_TYPE_COUNTER ? cql_type_scalar(CQL_TYPE_BIGINT)
                                                           : call->args[0]->type;
    if (strcmp(function->result, "keys") == 0)
        return cql_type_set(arena, call->args[0]->type->args[0]);
    if (strcmp(function->result, "elements") == 0)
        return cql_type_list(arena, call->args[0]->type->args[1]);
    mr_err err = cql_type_parse(arena, mr_str_from(function->result), &type);
    mr_assert(err == MR_OK);
    return type;
}

mr_err store_function_bind(struct store_binder *binder, struct store_term *call)
{
    bool known = false;
    const struct cql_type *arg = NULL, *result = NULL;
    bool star = call->arg_count == 1 && call->args[0]->kind == STORE_TERM_STAR;
    if (call->arg_count == 1 && store_function_blob(call->text, &arg, &result)) {
        if (!cql_type_equal(arg, call->args[0]->type))
            return store_fail(
                binder->fault, CQL_ERROR_INVALID,
                "Invalid call to function system.%.*s, none of its type signatures match",
                MR_STR_ARG(call->text));
        call->function = &blob_function;
        call->type = result;
        return MR_OK;
    }
    for (size_t i = 0; i < mr_count_of(functions); i++) {
        const struct store_function *function = &functions[i];
        if (!mr_str_equal(call->text, mr_str_from(function->name)))
            continue;
        known = true;
        bool fits = function->args[0] == '\0'
                        ? call->arg_count == 0 ||
                              (star && function->aggregate == STORE_AGGREGATE_COUNT)
                    : star ? function->aggregate == STORE_AGGREGATE_COUNT
                           : call->arg_count == 1 && arg_fits(function->args, call->args[0]->type);
        if (!fits)
            continue;
        call->function = function;
        call->type = result_type(binder->arena, function, call);
        return MR_OK;
    }
    return store_fail(
        binder->fault, CQL_ERROR_INVALID,
        known ? "Invalid call to function %.*s, none of its type signatures match (known type "
                "signatures: see the documentation)"
              : "Unknown function '%.*s'",
        MR_STR_ARG(call->text));
}

/* ---- casts ---- */
static bool is_time(const struct cql_type *type)
{
    return type->id == CQL_TYPE_TIMESTAMP || type->id == CQL_TYPE_DATE ||
           type->id == CQL_TYPE_TIMEUUID;
}

static bool is_big(const struct cql_type *type)
{
    return type->id == CQL_TYPE_VARINT || type->id == CQL_TYPE_DECIMAL;
}

bool store_cast_allowed(const struct cql_type *from, const struct cql_type *to)
{
    if (cql_type_equal(from, to))
        return true;
    if (to->id == CQL_TYPE_TEXT || to->id == CQL_TYPE_ASCII)
        return from->arg_count == 0 && from->id != CQL_TYPE_BLOB;
    if (is_number(from) || is_big(from))
        return is_number(to) || is_big(to);
    return from->id == CQL_TYPE_TIMEUUID ? to->id == CQL_TYPE_TIMESTAMP || to->id == CQL_TYPE_DATE
           : is_time(from)               ? to->id == CQL_TYPE_TIMESTAMP || to->id == CQL_TYPE_DATE
                                         : false;
}

/* Through text where a number of any size takes part. */
static mr_err cast_big(const struct store_scope *scope, const struct cql_type *from,
                       struct cql_value value, const struct cql_type *to, struct cql_value *out)
{
    struct mr_buf text = {0}, bytes = {0};
    mr_err err = MR_OK;
    double real = 0;
    cql_value_print(&text, from, value, true);
    mr_str digits = mr_buf_as_str(&text);
    if (to->id == CQL_TYPE_DECIMAL) {
        if (!cql_decimal_parse(&bytes, digits))
            err = MR_INVALID;
    } else if (to->id == CQL_TYPE_VARINT) {
        ptrdiff_t point = mr_str_find_byte(digits, '.');
        mr_str whole = point < 0 ? digits : mr_str_slice(digits, 0, (size_t)point);
        if (!cql_varint_parse(&bytes, whole))
            err = MR_INVALID;
    } else {
        err = mr_str_to_f64(digits, &real);
        if (err == MR_OK)
            *out = value_of_real(scope->arena, to, real);
    }
    if (err != MR_OK)
        err = store_fail(scope->fault, CQL_ERROR_INVALID, "cast: the number %.*s does not fit",
                         MR_STR_ARG(digits));
    else if (is_big(to))
        *out = store_value_text(scope->arena, mr_buf_as_str(&bytes));
    mr_buf_fini(&text);
    mr_buf_fini(&bytes);
    return err;
}

mr_err store_cast(const struct store_scope *scope, const struct cql_type *from,
                  struct cql_value value, const struct cql_type *to, struct cql_value *out)
{
    if (value.length < 0 || cql_type_equal(from, to)) {
        *out = value;
        return MR_OK;
    }
    if (to->id == CQL_TYPE_TEXT || to->id == CQL_TYPE_ASCII) {
        struct mr_buf text = {0};
        cql_value_print(&text, from, value, true);
        *out = store_value_text(scope->arena, mr_buf_as_str(&text));
        mr_buf_fini(&text);
        return MR_OK;
    }
    if (is_time(from)) {
        int64_t ms = value_ms(from, value);
        *out = to->id == CQL_TYPE_TIMESTAMP
                   ? store_value_i64(scope->arena, ms)
                   : value_be(scope->arena, (uint64_t)(floor_days(ms) + INT64_C(0x80000000)), 4);
        return MR_OK;
    }
    if (is_big(from) || is_big(to))
        return cast_big(scope, from, value, to, out);
    if (is_integer(from) && is_integer(to))
        *out = value_be(scope->arena, (uint64_t)store_value_integer(value), cql_type_bytes(to));
    else
        *out = value_of_real(scope->arena, to, value_real(from, value));
    return MR_OK;
}

/* ---- arithmetic ---- */
const struct cql_type *store_arithmetic_type(const struct cql_type *a, const struct cql_type *b)
{
    static const enum cql_type_id order[] = {CQL_TYPE_TINYINT, CQL_TYPE_SMALLINT, CQL_TYPE_INT,
                                             CQL_TYPE_BIGINT};
    if (!is_number(a) || !is_number(b))
        return NULL;
    if (is_real(a) || is_real(b)) {
        bool narrow = cql_type_bytes(a) <= 4 && cql_type_bytes(b) <= 4;
        return cql_type_scalar(narrow ? CQL_TYPE_FLOAT : CQL_TYPE_DOUBLE);
    }
    int bytes = cql_type_bytes(a) > cql_type_bytes(b) ? cql_type_bytes(a) : cql_type_bytes(b);
    return cql_type_scalar(order[bytes == 1 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3]);
}

static mr_err whole_arithmetic(const struct store_scope *scope, char op, int64_t x, int64_t y,
                               int64_t *out)
{
    uint64_t a = (uint64_t)x, b = (uint64_t)y;
    if ((op == '/' || op == '%') && y == 0)
        return store_fail(scope->fault, CQL_ERROR_FUNCTION_FAILURE,
                          "the operation '%lld %c %lld' failed: / by zero", (long long)x, op,
                          (long long)y);
    switch (op) {
    case '+':
        *out = (int64_t)(a + b);
        break;
    case '-':
        *out = (int64_t)(a - b);
        break;
    case '*':
        *out = (int64_t)(a * b);
        break;
    case '/':
        *out = y == -1 ? (int64_t)(0 - a) : x / y;
        break;
    default:
        *out = y == -1 ? 0 : x % y;
        break;
    }
    return MR_OK;
}

mr_err store_arithmetic(const struct store_scope *scope, char op, const struct cql_type *type,
                        const struct cql_type *a_type, struct cql_value a,
                        const struct cql_type *b_type, struct cql_value b, struct cql_value *out)
{
    *out = CQL_VALUE_NULL;
    if (a.length < 0 || b.length < 0)
        return MR_OK;
    if (is_integer(type)) {
        int64_t whole = 0;
        mr_err err = whole_arithmetic(scope, op, store_value_integer(a), store_value_integer(b),
                                      &whole);
        if (err == MR_OK)
            *out = value_be(scope->arena, (uint64_t)whole, cql_type_bytes(type));
        return err;
    }
    double x = value_real(a_type, a), y = value_real(b_type, b);
    double real = op == '+'   ? x + y
                  : op == '-' ? x - y
                  : op == '*' ? x * y
                  : op == '/' ? x / y
                              : fmod(x, y);
    *out = value_of_real(scope->arena, type, real);
    return MR_OK;
}

/* ---- aggregates ---- */
void store_fold_add(struct store_fold *fold, const struct store_term *call, struct cql_value value)
{
    bool star = call->arg_count == 0 || call->args[0]->kind == STORE_TERM_STAR;
    if (!star && value.length < 0)
        return;
    fold->count++;
    if (star || call->function->aggregate == STORE_AGGREGATE_COUNT)
        return;
    const struct cql_type *type = call->args[0]->type;
    if (call->function->aggregate == STORE_AGGREGATE_SUM ||
        call->function->aggregate == STORE_AGGREGATE_AVG) {
        if (is_real(type))
            fold->real += value_real(type, value);
        else
            fold->whole = (int64_t)((uint64_t)fold->whole + (uint64_t)store_value_integer(value));
        return;
    }
    mr_str held = mr_buf_as_str(&fold->value);
    if (fold->count > 1) {
        int order = cql_value_compare(type, value, cql_value_of(held.data, held.length));
        if (call->function->aggregate == STORE_AGGREGATE_MIN ? order >= 0 : order <= 0)
            return;
    }
    mr_buf_clear(&fold->value);
    mr_buf_str(&fold->value, cql_value_str(value));
}

struct cql_value store_fold_result(struct store_fold *fold, const struct store_term *call,
                                   struct mr_arena *arena)
{
    enum store_aggregate kind = call->function->aggregate;
    if (kind == STORE_AGGREGATE_COUNT)
        return store_value_i64(arena, fold->count);
    if (kind == STORE_AGGREGATE_MIN || kind == STORE_AGGREGATE_MAX)
        return fold->count == 0 ? CQL_VALUE_NULL
                                : store_value_text(arena, mr_buf_as_str(&fold->value));
    int64_t divisor = kind == STORE_AGGREGATE_AVG && fold->count > 0 ? fold->count : 1;
    if (is_real(call->type))
        return value_of_real(arena, call->type, fold->real / (double)divisor);
    return value_be(arena, (uint64_t)(fold->whole / divisor), cql_type_bytes(call->type));
}

void store_fold_reset(struct store_fold *fold)
{
    fold->count = fold->whole = 0;
    fold->real = 0;
    mr_buf_clear(&fold->value);
}

void store_fold_fini(struct store_fold *fold)
{
    mr_buf_fini(&fold->value);
}
