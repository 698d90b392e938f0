/* pipeline/load.c: YAML to struct pipeline. It hides libyaml: the document is read whole into nodes,
 * then each mapping is walked by the rows of keys.def, so an unknown key, a key given twice and a value
 * of the wrong kind are found the same way everywhere, and all of them at once. */
#include "pipeline/pipeline.h"
#include "scheduler/scheduler.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

enum where { IN_PIPELINE, IN_RETRY, IN_STEP, IN_STREAM, IN_TEST };
enum kind {
    KIND_NAME,
    KIND_TEXT,
    KIND_TEXTS,
    KIND_SQL,
    KIND_DURATION,
    KIND_COUNT,
    KIND_BOOLEAN,
    KIND_MAP,
    KIND_RETRY,
    KIND_TARGETS,
    KIND_OVERLAP,
    KIND_FORMAT,
    KIND_MODE,
    KIND_TOPIC,
};
enum key {
#define KEY(where, name, kind, about) KEY_##where##_##name,
#include "pipeline/keys.def"
    KEY_COUNT
};
static const struct key_row {
    enum where where;
    const char *name;
    enum kind kind;
    const char *about;
} key_rows[] = {
#define KEY(where, name, kind, about) {IN_##where, #name, KIND_##kind, about},
#include "pipeline/keys.def"
};
static const char *const where_words[] = {"a pipeline", "`retry:`", "a step", "a stream", "a test"};

/* The nesting that a pipeline file may have; libyaml's own stack is on the heap, ours is the C stack. */
enum { DEPTH_MAX = 64 };

struct loader {
    struct mr_arena *arena;
    yaml_document_t *document;
    struct pipeline_mistakes *mistakes;
    struct pipeline_pairs params;
};

/* ---- mistakes ---- */

void pipeline_mistake_add(struct pipeline_mistakes *mistakes, struct pipeline_place place,
                          const char *format, ...)
{
    char text[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    *mr_array_add(&mistakes->list) = (struct pipeline_mistake){
        place, mr_arena_str(mistakes->arena, mr_str_from(text))};
}

/* In the order of the file, whatever order they were found in. */
void pipeline_mistakes_print(const struct pipeline_mistakes *mistakes, const char *path,
                             struct mr_buf *out)
{
    size_t count = mistakes->list.count;
    struct pipeline_mistake *list = mistakes->list.items;
    for (size_t i = 1; i < count; i++) {
        for (size_t j = i; j > 0; j--) {
            struct pipeline_place a = list[j - 1].place, b = list[j].place;
            if (a.line < b.line || (a.line == b.line && a.column <= b.column))
                break;
            struct pipeline_mistake swap = list[j];
            list[j] = list[j - 1];
            list[j - 1] = swap;
        }
    }
    for (size_t i = 0; i < count; i++)
        mr_buf_printf(out, "%s:%u:%u: %.*s\n", path, list[i].place.line, list[i].place.column,
                      MR_STR_ARG(list[i].text));
}

void pipeline_mistakes_fini(struct pipeline_mistakes *mistakes)
{
    mr_array_fini(&mistakes->list);
}

/* ---- nodes ---- */

static struct pipeline_place place_of(const yaml_node_t *node)
{
    return (struct pipeline_place){(uint32_t)node->start_mark.line + 1,
                                   (uint32_t)node->start_mark.column + 1};
}

static yaml_node_t *node_at(struct loader *loader, int id)
{
    yaml_node_t *node = yaml_document_get_node(loader->document, id);
    mr_assert(node != NULL);
    return node;
}

static mr_str scalar(const yaml_node_t *node)
{
    return mr_str_of(node->data.scalar.value, node->data.scalar.length);
}

static const char *node_word(const yaml_node_t *node)
{
    switch (node->type) {
    case YAML_SCALAR_NODE:
        return node->data.scalar.length == 0 ? "nothing" : "a single value";
    case YAML_SEQUENCE_NODE:
        return "a list";
    case YAML_MAPPING_NODE:
        return "a map";
    case YAML_NO_NODE:
    default:
        return "nothing";
    }
}

static bool wants(struct loader *loader, const yaml_node_t *node, yaml_node_type_t type,
                  const char *what, const char *expected)
{
    if (node->type == type)
        return true;
    pipeline_mistake_add(loader->mistakes, place_of(node), "`%s` is %s; expected %s", what,
                         node_word(node), expected);
    return false;
}

/* A block scalar's text begins on the line after its `|`; a plain one where it stands. */
static struct pipeline_text text_of(struct loader *loader, const yaml_node_t *node)
{
    struct pipeline_text text = {mr_arena_str(loader->arena, scalar(node)), place_of(node)};
    if (node->data.scalar.style == YAML_LITERAL_SCALAR_STYLE ||
        node->data.scalar.style == YAML_FOLDED_SCALAR_STYLE) {
        text.place.line++;
        text.place.column = 1;
    }
    return text;
}

/* ---- ${NAME} ---- */

static bool param_find(struct loader *loader, mr_str name, mr_str *value)
{
    const char *environment = getenv(mr_arena_cstr(loader->arena, name));
    if (environment != NULL) {
        *value = mr_str_from(environment);
        return true;
    }
    for (size_t i = 0; i < loader->params.count; i++) {
        if (mr_str_equal(loader->params.items[i].name.text, name)) {
            *value = loader->params.items[i].value.text;
            return true;
        }
    }
    return false;
}

static struct pipeline_text expanded(struct loader *loader, const yaml_node_t *node)
{
    struct pipeline_text text = text_of(loader, node);
    struct mr_buf out = {0};
    mr_str rest = text.text;
    ptrdiff_t at = mr_str_find(rest, MR_STR("${"));
    if (at < 0)
        return text;
    while (at >= 0) {
        ptrdiff_t end = mr_str_find_byte(mr_str_slice(rest, (size_t)at, rest.length), '}');
        mr_str name, value = MR_STR_NULL;
        if (end < 0) {
            pipeline_mistake_add(loader->mistakes, text.place, "`${` without its `}`");
            break;
        }
        name = mr_str_slice(rest, (size_t)at + 2, (size_t)(at + end));
        if (!param_find(loader, name, &value))
            pipeline_mistake_add(
                loader->mistakes, text.place,
                "`${%.*s}` has no value: expected it under `params:` or in the environment",
                MR_STR_ARG(name));
        mr_buf_str(&out, mr_str_slice(rest, 0, (size_t)at));
        mr_buf_str(&out, value);
        rest = mr_str_slice(rest, (size_t)(at + end) + 1, rest.length);
        at = mr_str_find(rest, MR_STR("${"));
    }
    mr_buf_str(&out, rest);
    text.text = mr_arena_str(loader->arena, mr_buf_as_str(&out));
    mr_buf_fini(&out);
    return text;
}

/* ---- keys ---- */

/* Letters to change, add or leave out to make `a` of `b`; both are short words. */
static size_t distance(mr_str a, mr_str b)
{
    size_t row[33];
    if (a.length > 32 || b.length > 32)
        return 33;
    for (size_t j = 0; j <= b.length; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.length; i++) {
        size_t before = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.length; j++) {
            size_t change = before + (a.data[i - 1] != b.data[j - 1]);
            size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            before = row[j];
            row[j] = change < best ? change : best;
        }
    }
    return row[b.length];
}

static void unknown_key(struct loader *loader, enum where where, const yaml_node_t *node)
{
    const struct key_row *near = NULL;
    struct mr_buf known = {0};
    size_t nearest = 3;
    for (size_t i = 0; i < mr_count_of(key_rows); i++) {
        const struct key_row *row = &key_rows[i];
        if (row->where != where)
            continue;
        mr_buf_printf(&known, "%s%s", known.length == 0 ? "" : ", ", row->name);
        size_t far = distance(scalar(node), mr_str_from(row->name));
        if (far < nearest) {
            nearest = far;
            near = row;
        }
    }
    if (near != NULL)
        pipeline_mistake_add(loader->mistakes, place_of(node),
                             "%s has no key `%.*s`; did you mean `%s`?", where_words[where],
                             MR_STR_ARG(scalar(node)), near->name);
    else
        pipeline_mistake_add(loader->mistakes, place_of(node),
                             "%s has no key `%.*s`; expected one of: %.*s", where_words[where],
                             MR_STR_ARG(scalar(node)), MR_STR_ARG(mr_buf_as_str(&known)));
    mr_buf_fini(&known);
}

/* The values of a mapping by row of keys.def; absent ones are NULL. */
static void read_keys(struct loader *loader, enum where where, yaml_node_t *map,
                      yaml_node_t *values[KEY_COUNT])
{
    memset(values, 0, KEY_COUNT * sizeof(values[0]));
    yaml_node_pair_t *pair = map->data.mapping.pairs.start;
    for (; pair < map->data.mapping.pairs.top; pair++) {
        yaml_node_t *key = node_at(loader, pair->key);
        size_t row = 0;
        if (!wants(loader, key, YAML_SCALAR_NODE, "a key", "a word"))
            continue;
        while (row < KEY_COUNT && (key_rows[row].where != where ||
                                   !mr_str_equal(scalar(key), mr_str_from(key_rows[row].name))))
            row++;
        if (row == KEY_COUNT)
            unknown_key(loader, where, key);
        else if (values[row] != NULL)
            pipeline_mistake_add(loader->mistakes, place_of(key), "`%s` is given twice",
                                 key_rows[row].name);
        else
            values[row] = node_at(loader, pair->value);
    }
}

/* ---- values ---- */

mr_err pipeline_duration(mr_str text, int64_t *us)
{
    static const struct {
        const char *unit;
        int64_t us;
    } units[] = {
        {"ms", 1000}, {"s", 1000000}, {"m", 60000000}, {"h", 3600000000}, {"d", 86400000000}};
    int64_t total = 0;
    size_t at = 0;
    if (text.length == 0)
        return MR_INVALID;
    while (at < text.length) {
        size_t start = at, unit;
        int64_t number;
        while (at < text.length && text.data[at] >= '0' && text.data[at] <= '9')
            at++;
        if (at - start > 9 || mr_str_to_i64(mr_str_slice(text, start, at), &number) != MR_OK)
            return MR_INVALID;
        start = at;
        while (at < text.length && text.data[at] >= 'a' && text.data[at] <= 'z')
            at++;
        for (unit = 0; unit < mr_count_of(units); unit++)
            if (mr_str_equal(mr_str_slice(text, start, at), mr_str_from(units[unit].unit)))
                break;
        if (unit == mr_count_of(units) || number > (INT64_MAX - total) / units[unit].us)
            return MR_INVALID;
        total += number * units[unit].us;
    }
    *us = total;
    return MR_OK;
}

static int64_t duration(struct loader *loader, yaml_node_t *node, enum key key, int64_t otherwise)
{
    int64_t us = otherwise;
    if (node == NULL ||
        !wants(loader, node, YAML_SCALAR_NODE, key_rows[key].name, "a duration such as `10s`"))
        return otherwise;
    struct pipeline_text text = expanded(loader, node);
    if (pipeline_duration(text.text, &us) != MR_OK || us == 0) {
        pipeline_mistake_add(
            loader->mistakes, text.place,
            "`%s: %.*s` is no duration; expected a number and a unit: 250ms, 10s, 5m, 2h or 1d",
            key_rows[key].name, MR_STR_ARG(text.text));
        return otherwise;
    }
    return us;
}

static int64_t count(struct loader *loader, yaml_node_t *node, enum key key, int64_t otherwise,
                     int64_t max)
{
    int64_t number = otherwise;
    if (node == NULL || !wants(loader, node, YAML_SCALAR_NODE, key_rows[key].name, "a number"))
        return otherwise;
    struct pipeline_text text = expanded(loader, node);
    if (mr_str_to_i64(text.text, &number) != MR_OK || number < 0 || number > max) {
        pipeline_mistake_add(loader->mistakes, text.place,
                             "`%s: %.*s`: expected a whole number from 0 to %lld",
                             key_rows[key].name, MR_STR_ARG(text.text), (long long)max);
        return otherwise;
    }
    return number;
}

static bool boolean(struct loader *loader, yaml_node_t *node, enum key key)
{
    if (node == NULL || !wants(loader, node, YAML_SCALAR_NODE, key_rows[key].name, "true or false"))
        return false;
    mr_str text = scalar(node);
    if (mr_str_equal(text, MR_STR("true")) || mr_str_equal(text, MR_STR("yes")))
        return true;
    if (!mr_str_equal(text, MR_STR("false")) && !mr_str_equal(text, MR_STR("no")))
        pipeline_mistake_add(loader->mistakes, place_of(node), "`%s: %.*s`: expected true or false",
                             key_rows[key].name, MR_STR_ARG(text));
    return false;
}

static struct pipeline_text text(struct loader *loader, yaml_node_t *node, enum key key)
{
    if (node == NULL || !wants(loader, node, YAML_SCALAR_NODE, key_rows[key].name, "text"))
        return (struct pipeline_text){MR_STR_NULL, {0, 0}};
    struct pipeline_text value = key_rows[key].kind == KIND_SQL ? text_of(loader, node)
                                                                : expanded(loader, node);
    if (mr_str_trim(value.text).length == 0)
        pipeline_mistake_add(loader->mistakes, value.place, "`%s` is empty", key_rows[key].name);
    return value;
}

/* One text or a list of texts. */
static struct pipeline_texts texts(struct loader *loader, yaml_node_t *node, enum key key)
{
    struct pipeline_texts list = {NULL, 0};
    if (node == NULL)
        return list;
    if (node->type == YAML_SCALAR_NODE) {
        list.items = mr_arena_new(loader->arena, struct pipeline_text);
        list.items[0] = text(loader, node, key);
        list.count = 1;
        return list;
    }
    if (!wants(loader, node, YAML_SEQUENCE_NODE, key_rows[key].name, "text or a list of texts"))
        return list;
    size_t length = (size_t)(node->data.sequence.items.top - node->data.sequence.items.start);
    list.items = mr_arena_array(loader->arena, struct pipeline_text, length);
    for (size_t i = 0; i < length; i++)
        list.items[list.count++] = text(loader, node_at(loader, node->data.sequence.items.start[i]),
                                        key);
    return list;
}

static struct pipeline_pairs pairs(struct loader *loader, yaml_node_t *node, const char *what)
{
    struct pipeline_pairs list = {NULL, 0};
    if (node == NULL || !wants(loader, node, YAML_MAPPING_NODE, what, "a map"))
        return list;
    yaml_node_pair_t *pair = node->data.mapping.pairs.start, *end = node->data.mapping.pairs.top;
    list.items = mr_arena_array(loader->arena, struct pipeline_pair, (size_t)(end - pair));
    for (; pair < end; pair++) {
        yaml_node_t *key = node_at(loader, pair->key), *value = node_at(loader, pair->value);
        if (!wants(loader, key, YAML_SCALAR_NODE, what, "words as keys") ||
            !wants(loader, value, YAML_SCALAR_NODE, what, "a single value for each key"))
            continue;
        list.items[list.count++] = (struct pipeline_pair){text_of(loader, key),
                                                          expanded(loader, value)};
    }
    return list;
}

/* ---- connections ---- */

static const struct {
    const char *connection, *name;
} setting_rows[] = {
#define SETTING(connection, id, option, value, environment, about) {#connection, #id},
#include "pipeline/connections.def"
};
static const char *const connection_words[] = {
#define CONNECTION(id, value, environment, about) #id,
#include "pipeline/connections.def"
};

static const char *const place_words[] = {
#define PLACE(id, about) #id,
#include "pipeline/connections.def"
};

enum pipeline_setting pipeline_setting_find(mr_str connection, mr_str name)
{
    size_t i = 0;
    while (i < mr_count_of(setting_rows) &&
           !(mr_str_equal(connection, mr_str_from(setting_rows[i].connection)) &&
             mr_str_equal(name, mr_str_from(setting_rows[i].name))))
        i++;
    return (enum pipeline_setting)i;
}

static void expect_connection(struct loader *loader, const struct pipeline_text *name)
{
    struct mr_buf known = {0};
    for (size_t i = 0; i < mr_count_of(connection_words); i++) {
        if (mr_str_equal(name->text, mr_str_from(connection_words[i])))
            goto out;
        mr_buf_printf(&known, "%s%s", i == 0 ? "" : ", ", connection_words[i]);
    }
    pipeline_mistake_add(loader->mistakes, name->place,
                         "there is no connection `%.*s`; expected one of: %.*s",
                         MR_STR_ARG(name->text), MR_STR_ARG(mr_buf_as_str(&known)));
out:
    mr_buf_fini(&known);
}

static void expect_setting(struct loader *loader, mr_str connection,
                           const struct pipeline_text *name)
{
    struct mr_buf known = {0};
    if (pipeline_setting_find(connection, name->text) != PIPELINE_SETTING_COUNT)
        return;
    for (size_t i = 0; i < mr_count_of(setting_rows); i++)
        if (mr_str_equal(connection, mr_str_from(setting_rows[i].connection)))
            mr_buf_printf(&known, ", %s", setting_rows[i].name);
    pipeline_mistake_add(loader->mistakes, name->place,
                         "a connection to `%.*s` has no `%.*s`; expected one of: address%.*s",
                         MR_STR_ARG(connection), MR_STR_ARG(name->text),
                         MR_STR_ARG(mr_buf_as_str(&known)));
    mr_buf_fini(&known);
}

/* `kafka: host:9092`, or a map with `address:` and settings. */
static struct pipeline_connection connection(struct loader *loader, yaml_node_t *key,
                                             yaml_node_t *value)
{
    struct pipeline_connection one = {.name = text_of(loader, key)};
    expect_connection(loader, &one.name);
    if (value->type == YAML_SCALAR_NODE) {
        one.address = expanded(loader, value);
        return one;
    }
    if (value->type != YAML_MAPPING_NODE) {
        pipeline_mistake_add(loader->mistakes, place_of(value),
                             "`%.*s` is %s; expected an address, or a map with `address:`",
                             MR_STR_ARG(one.name.text), node_word(value));
        return one;
    }
    struct pipeline_pairs all = pairs(loader, value, "connections");
    one.settings.items = mr_arena_array(loader->arena, struct pipeline_pair, all.count);
    for (size_t i = 0; i < all.count; i++) {
        if (mr_str_equal(all.items[i].name.text, MR_STR("address"))) {
            one.address = all.items[i].value;
            continue;
        }
        expect_setting(loader, one.name.text, &all.items[i].name);
        one.settings.items[one.settings.count++] = all.items[i];
    }
    return one;
}

/* A connection that may only be embedded so far. */
static bool is_place(struct loader *loader, yaml_node_t *key, yaml_node_t *value)
{
    struct pipeline_text name = text_of(loader, key);
    size_t i = 0;
    while (i < mr_count_of(place_words) && !mr_str_equal(name.text, mr_str_from(place_words[i])))
        i++;
    if (i == mr_count_of(place_words))
        return false;
    if (value->type != YAML_SCALAR_NODE ||
        !mr_str_equal(expanded(loader, value).text, MR_STR("embedded")))
        pipeline_mistake_add(loader->mistakes, place_of(value),
                             "`%s` can only be `embedded`: a pipeline does not run on a %s "
                             "elsewhere yet",
                             place_words[i], place_words[i]);
    return true;
}

static struct pipeline_connections connections(struct loader *loader, yaml_node_t *node)
{
    struct pipeline_connections list = {NULL, 0};
    if (node == NULL || !wants(loader, node, YAML_MAPPING_NODE, "connections", "a map"))
        return list;
    yaml_node_pair_t *pair = node->data.mapping.pairs.start, *end = node->data.mapping.pairs.top;
    list.items = mr_arena_array(loader->arena, struct pipeline_connection, (size_t)(end - pair));
    for (; pair < end; pair++) {
        yaml_node_t *key = node_at(loader, pair->key);
        yaml_node_t *value = node_at(loader, pair->value);
        if (wants(loader, key, YAML_SCALAR_NODE, "connections", "words as keys") &&
            !is_place(loader, key, value))
            list.items[list.count++] = connection(loader, key, value);
    }
    return list;
}

static bool is_name(mr_str name)
{
    for (size_t i = 0; i < name.length; i++) {
        char c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '_' || c == '-' || c == '.'))
            return false;
    }
    return name.length > 0 && name.length <= 200;
}

static struct pipeline_target target(struct loader *loader, struct pipeline_text value,
                                     enum key key)
{
    struct pipeline_target into = {.place = value.place};
    mr_str rest = value.text, dotted;
    ptrdiff_t slash = mr_str_find_byte(rest, '/');
    if (slash > 0) {
        into.connection = mr_str_slice(rest, 0, (size_t)slash);
        dotted = mr_str_slice(rest, (size_t)slash + 1, rest.length);
        ptrdiff_t dot = mr_str_find_byte(dotted, '.');
        bool table = !mr_str_equal(into.connection, MR_STR("topic"));
        into.name = table && dot > 0 ? mr_str_slice(dotted, (size_t)dot + 1, dotted.length)
                                     : dotted;
        into.container = table && dot > 0 ? mr_str_slice(dotted, 0, (size_t)dot) : MR_STR_NULL;
    }
    bool postgres = mr_str_equal(into.connection, MR_STR("postgres"));
    bool cassandra = mr_str_equal(into.connection, MR_STR("cassandra"));
    bool topic = mr_str_equal(into.connection, MR_STR("topic"));
    bool fits = (((postgres || cassandra) && is_name(into.container)) || topic) &&
                is_name(into.name);
    if (value.text.length > 0 && !fits) {
        pipeline_mistake_add(loader->mistakes, value.place,
                             "`%s: %.*s` names no target; expected postgres/schema.table, "
                             "cassandra/keyspace.table or topic/name",
                             key_rows[key].name, MR_STR_ARG(value.text));
        into.connection = MR_STR_NULL;
    }
    return into;
}

static size_t word(struct loader *loader, yaml_node_t *node, enum key key, const char *const *words,
                   size_t word_count)
{
    struct mr_buf known = {0};
    size_t found = 0;
    if (node == NULL || !wants(loader, node, YAML_SCALAR_NODE, key_rows[key].name, "a word"))
        return 0;
    while (found < word_count && !mr_str_equal(scalar(node), mr_str_from(words[found]))) {
        mr_buf_printf(&known, "%s`%s`", found == 0 ? "" : " or ", words[found]);
        found++;
    }
    if (found == word_count) {
        pipeline_mistake_add(loader->mistakes, place_of(node), "`%s: %.*s`: expected %.*s",
                             key_rows[key].name, MR_STR_ARG(scalar(node)),
                             MR_STR_ARG(mr_buf_as_str(&known)));
        found = 0;
    }
    mr_buf_fini(&known);
    return found;
}

static struct pipeline_retry retry(struct loader *loader, yaml_node_t *node,
                                   struct pipeline_retry otherwise)
{
    yaml_node_t *values[KEY_COUNT];
    if (node == NULL ||
        !wants(loader, node, YAML_MAPPING_NODE, "retry", "a map such as {times: 3, delay: 1s}"))
        return otherwise;
    read_keys(loader, IN_RETRY, node, values);
    return (struct pipeline_retry){
        count(loader, values[KEY_RETRY_times], KEY_RETRY_times, 3, 1000),
        duration(loader, values[KEY_RETRY_delay], KEY_RETRY_delay, 1000000),
        duration(loader, values[KEY_RETRY_max_delay], KEY_RETRY_max_delay, 60000000),
    };
}

/* ---- steps ---- */

/* Looks a step's verbs up; exactly one must be there. */
static void step_verb(struct loader *loader, struct pipeline_step *step,
                      yaml_node_t *values[KEY_COUNT])
{
    static const enum key verbs[] = {KEY_STEP_get, KEY_STEP_run, KEY_STEP_sql, KEY_STEP_require};
    int found = 0;
    for (size_t i = 0; i < mr_count_of(verbs); i++) {
        if (values[verbs[i]] == NULL)
            continue;
        step->verb = (enum pipeline_verb)i;
        step->work = text(loader, values[verbs[i]], verbs[i]);
        found++;
    }
    if (found != 1)
        pipeline_mistake_add(
            loader->mistakes, step->place,
            "step `%.*s` has %s; expected exactly one of `get`, `run`, `sql`, `require`",
            MR_STR_ARG(step->name), found == 0 ? "no verb" : "several verbs");
    if (found == 1 && step->verb == PIPELINE_GET &&
        mr_str_find(step->work.text, MR_STR("://")) < 0 &&
        !mr_str_starts(step->work.text, MR_STR("randomuser/")))
        pipeline_mistake_add(
            loader->mistakes, step->work.place,
            "`get: %.*s` is no address; expected http://..., https://... or a path "
            "of the connection, as randomuser/api/",
            MR_STR_ARG(step->work.text));
    if (found == 1 && step->verb != PIPELINE_GET) {
        static const enum key get_only[] = {KEY_STEP_each, KEY_STEP_into, KEY_STEP_key};
        for (size_t i = 0; i < mr_count_of(get_only); i++)
            if (values[get_only[i]] != NULL)
                pipeline_mistake_add(loader->mistakes, place_of(values[get_only[i]]),
                                     "`%s` belongs to a step with `get`",
                                     key_rows[get_only[i]].name);
    }
}

static void step_after(struct loader *loader, struct pipeline *pipeline, size_t index,
                       yaml_node_t *node)
{
    struct pipeline_step *step = &pipeline->steps[index];
    if (node == NULL) {
        step->after = mr_arena_new(loader->arena, size_t);
        step->after_count = index > 0;
        if (index > 0)
            step->after[0] = index - 1;
        return;
    }
    struct pipeline_texts names = texts(loader, node, KEY_STEP_after);
    step->after = mr_arena_array(loader->arena, size_t, names.count + 1);
    for (size_t i = 0; i < names.count; i++) {
        size_t other = 0;
        while (other < index && !mr_str_equal(pipeline->steps[other].name, names.items[i].text))
            other++;
        if (other == index)
            pipeline_mistake_add(loader->mistakes, names.items[i].place,
                                 "`after: %.*s` names no step above `%.*s`",
                                 MR_STR_ARG(names.items[i].text), MR_STR_ARG(step->name));
        else
            step->after[step->after_count++] = other;
    }
}

static void read_step(struct loader *loader, struct pipeline *pipeline, size_t index,
                      yaml_node_t *key, yaml_node_t *node, struct pipeline_retry pipeline_retry)
{
    struct pipeline_step *step = &pipeline->steps[index];
    yaml_node_t *values[KEY_COUNT];
    *step = (struct pipeline_step){.name = mr_arena_str(loader->arena, scalar(key)),
                                   .place = place_of(key),
                                   .retry = pipeline_retry,
                                   .timeout_us = 60000000};
    if (!is_name(step->name))
        pipeline_mistake_add(loader->mistakes, step->place,
                             "a step's name is letters, digits, `_`, `-` and `.`");
    if (!wants(loader, node, YAML_MAPPING_NODE, "a step", "a map of its keys"))
        return;
    read_keys(loader, IN_STEP, node, values);
    step->about = text(loader, values[KEY_STEP_about], KEY_STEP_about).text;
    step_verb(loader, step, values);
    step->each = text(loader, values[KEY_STEP_each], KEY_STEP_each);
    if (values[KEY_STEP_into] != NULL) {
        struct pipeline_text into = text(loader, values[KEY_STEP_into], KEY_STEP_into);
        step->into = target(loader, into, KEY_STEP_into);
        if (step->into.connection.length > 0 &&
            !mr_str_equal(step->into.connection, MR_STR("postgres")))
            pipeline_mistake_add(loader->mistakes, into.place,
                                 "a step writes into PostgreSQL; expected postgres/schema.table");
    }
    step->key = text(loader, values[KEY_STEP_key], KEY_STEP_key).text;
    step->timeout_us = duration(loader, values[KEY_STEP_timeout], KEY_STEP_timeout,
                                step->timeout_us);
    step->retry = retry(loader, values[KEY_STEP_retry], step->retry);
    step_after(loader, pipeline, index, values[KEY_STEP_after]);
}

/* ---- streams ---- */

static void stream_watermark(struct loader *loader, struct pipeline_stream *stream,
                             yaml_node_t *node)
{
    struct pipeline_pairs map = pairs(loader, node, "watermark");
    if (node == NULL || node->type != YAML_MAPPING_NODE)
        return;
    if (map.count != 1) {
        pipeline_mistake_add(loader->mistakes, place_of(node),
                             "`watermark` has %zu columns; expected one, as {fetched_at: 10s}",
                             map.count);
        return;
    }
    stream->watermark_column = map.items[0].name.text;
    stream->watermark_place = map.items[0].name.place;
    if (pipeline_duration(map.items[0].value.text, &stream->watermark_delay_us) != MR_OK)
        pipeline_mistake_add(
            loader->mistakes, map.items[0].value.place,
            "`%.*s` is no duration; expected a number and a unit: 250ms, 10s, 5m, 2h or 1d",
            MR_STR_ARG(map.items[0].value.text));
}

static void stream_targets(struct loader *loader, struct pipeline_stream *stream, yaml_node_t *node)
{
    struct pipeline_texts list = texts(loader, node, KEY_STREAM_into);
    stream->into = mr_arena_array(loader->arena, struct pipeline_target, list.count + 1);
    for (size_t i = 0; i < list.count; i++) {
        struct pipeline_target into = target(loader, list.items[i], KEY_STREAM_into);
        if (mr_str_equal(into.connection, MR_STR("postgres")))
            pipeline_mistake_add(
                loader->mistakes, list.items[i].place,
                "a stream cannot write into PostgreSQL yet; expected cassandra/keyspace.table");
        else if (into.connection.length > 0)
            stream->into[stream->into_count++] = into;
    }
}

/* What must hold between the keys of one stream. */
static void stream_rules(struct loader *loader, struct pipeline_stream *stream,
                         yaml_node_t *values[KEY_COUNT])
{
    bool capture = values[KEY_STREAM_capture] != NULL, sql = values[KEY_STREAM_sql] != NULL;
    if (capture == sql)
        pipeline_mistake_add(loader->mistakes, stream->place,
                             "stream `%.*s` has %s; expected exactly one of `capture` and `sql`",
                             MR_STR_ARG(stream->name),
                             capture ? "both `capture` and `sql`" : "no source");
    if (capture && stream->capture.connection.length > 0 &&
        !mr_str_equal(stream->capture.connection, MR_STR("postgres")))
        pipeline_mistake_add(
            loader->mistakes, stream->capture.place,
            "changes are captured from PostgreSQL; expected postgres/schema.table");
    if (capture && stream->into_count > 0)
        pipeline_mistake_add(
            loader->mistakes, place_of(values[KEY_STREAM_into]),
            "a captured stream is a topic; write a stream with `sql` for other targets");
    if (stream->topic_none && stream->into_count == 0)
        pipeline_mistake_add(
            loader->mistakes, stream->place,
            "stream `%.*s` has `topic: none` and no `into:`: its rows would go nowhere",
            MR_STR_ARG(stream->name));
    for (size_t i = 0; i < stream->into_count; i++)
        if (mr_str_equal(stream->into[i].connection, MR_STR("cassandra")) && stream->key.count == 0)
            pipeline_mistake_add(
                loader->mistakes, stream->into[i].place,
                "a Cassandra table needs a primary key; expected `key:` in stream `%.*s`",
                MR_STR_ARG(stream->name));
    for (size_t i = 0; i < stream->require.count; i++)
        if (!mr_str_equal(stream->require.items[i].value.text, MR_STR("not_null")))
            pipeline_mistake_add(loader->mistakes, stream->require.items[i].value.place,
                                 "`require` knows the rule `not_null`; found `%.*s`",
                                 MR_STR_ARG(stream->require.items[i].value.text));
}

static void read_stream(struct loader *loader, struct pipeline_stream *stream, yaml_node_t *key,
                        yaml_node_t *node)
{
    static const char *const formats[] = {"avro", "json"}, *const modes[] = {"append", "update"},
                             *const topics[] = {"default", "none"};
    yaml_node_t *values[KEY_COUNT];
    *stream = (struct pipeline_stream){.name = mr_arena_str(loader->arena, scalar(key)),
                                       .place = place_of(key)};
    if (!is_name(stream->name))
        pipeline_mistake_add(loader->mistakes, stream->place,
                             "a stream's name is a topic's: letters, digits, `_`, `-` and `.`");
    if (!wants(loader, node, YAML_MAPPING_NODE, "a stream", "a map of its keys"))
        return;
    read_keys(loader, IN_STREAM, node, values);
    stream->about = text(loader, values[KEY_STREAM_about], KEY_STREAM_about).text;
    if (values[KEY_STREAM_capture] != NULL)
        stream->capture = target(loader,
                                 text(loader, values[KEY_STREAM_capture], KEY_STREAM_capture),
                                 KEY_STREAM_capture);
    stream->sql = text(loader, values[KEY_STREAM_sql], KEY_STREAM_sql);
    stream->types = pairs(loader, values[KEY_STREAM_types], "types");
    stream_watermark(loader, stream, values[KEY_STREAM_watermark]);
    stream_targets(loader, stream, values[KEY_STREAM_into]);
    stream->key = texts(loader, values[KEY_STREAM_key], KEY_STREAM_key);
    stream->require = pairs(loader, values[KEY_STREAM_require], "require");
    stream->partitions = count(loader, values[KEY_STREAM_partitions], KEY_STREAM_partitions, 0,
                               10000);
    stream->json = word(loader, values[KEY_STREAM_format], KEY_STREAM_format, formats, 2) == 1;
    stream->update = word(loader, values[KEY_STREAM_mode], KEY_STREAM_mode, modes, 2) == 1;
    stream->update_given = values[KEY_STREAM_mode] != NULL;
    stream->compact = boolean(loader, values[KEY_STREAM_compact], KEY_STREAM_compact);
    stream->topic_none = word(loader, values[KEY_STREAM_topic], KEY_STREAM_topic, topics, 2) == 1;
    stream_rules(loader, stream, values);
}

/* ---- tests: YAML rows as JSON ---- */

static bool looks_like_number(mr_str text)
{
    double number;
    return text.length > 0 && text.length < 40 &&
           (text.data[0] == '-' || (text.data[0] >= '0' && text.data[0] <= '9')) &&
           mr_str_to_f64(text, &number) == MR_OK && mr_str_find_byte(text, 'x') < 0 &&
           !(text.length > 1 && text.data[0] == '0' && text.data[1] != '.');
}

static void node_json(struct loader *loader, yaml_node_t *node, int depth, struct mr_buf *out)
{
    if (depth > DEPTH_MAX) {
        pipeline_mistake_add(loader->mistakes, place_of(node), "nested deeper than %d levels",
                             DEPTH_MAX);
        return;
    }
    if (node->type == YAML_MAPPING_NODE) {
        yaml_node_pair_t *pair = node->data.mapping.pairs.start;
        mr_buf_u8(out, '{');
        for (; pair < node->data.mapping.pairs.top; pair++) {
            yaml_node_t *key = node_at(loader, pair->key);
            if (pair != node->data.mapping.pairs.start)
                mr_buf_u8(out, ',');
            mr_buf_json(out, key->type == YAML_SCALAR_NODE ? scalar(key) : MR_STR_NULL);
            mr_buf_u8(out, ':');
            node_json(loader, node_at(loader, pair->value), depth + 1, out);
        }
        mr_buf_u8(out, '}');
    } else if (node->type == YAML_SEQUENCE_NODE) {
        mr_buf_u8(out, '[');
        for (yaml_node_item_t *item = node->data.sequence.items.start;
             item < node->data.sequence.items.top; item++) {
            if (item != node->data.sequence.items.start)
                mr_buf_u8(out, ',');
            node_json(loader, node_at(loader, *item), depth + 1, out);
        }
        mr_buf_u8(out, ']');
    } else {
        mr_str value = node->type == YAML_SCALAR_NODE ? scalar(node) : MR_STR_NULL;
        bool plain = node->type == YAML_SCALAR_NODE &&
                     node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        if (plain && (value.length == 0 || mr_str_equal(value, MR_STR("null")) ||
                      mr_str_equal(value, MR_STR("~"))))
            mr_buf_cstr(out, "null");
        else if (plain && (mr_str_equal(value, MR_STR("true")) ||
                           mr_str_equal(value, MR_STR("false")) || looks_like_number(value)))
            mr_buf_str(out, value);
        else
            mr_buf_json(out, value);
    }
}

static struct pipeline_rows *read_rows(struct loader *loader, yaml_node_t *node, const char *what,
                                       size_t *count_out)
{
    *count_out = 0;
    if (node == NULL || !wants(loader, node, YAML_MAPPING_NODE, what, "streams with their rows"))
        return NULL;
    yaml_node_pair_t *pair = node->data.mapping.pairs.start, *end = node->data.mapping.pairs.top;
    struct pipeline_rows *list = mr_arena_array(loader->arena, struct pipeline_rows,
                                                (size_t)(end - pair) + 1);
    for (; pair < end; pair++) {
        yaml_node_t *key = node_at(loader, pair->key), *value = node_at(loader, pair->value);
        if (!wants(loader, key, YAML_SCALAR_NODE, what, "the name of a stream") ||
            !wants(loader, value, YAML_SEQUENCE_NODE, what, "a list of rows"))
            continue;
        struct pipeline_rows *rows = &list[(*count_out)++];
        size_t length = (size_t)(value->data.sequence.items.top - value->data.sequence.items.start);
        rows->stream = mr_arena_str(loader->arena, scalar(key));
        rows->place = place_of(key);
        rows->rows = mr_arena_array(loader->arena, struct pipeline_text, length);
        for (size_t i = 0; i < length; i++) {
            yaml_node_t *row = node_at(loader, value->data.sequence.items.start[i]);
            struct mr_buf json = {0};
            if (!wants(loader, row, YAML_MAPPING_NODE, "a row", "a map of its columns"))
                continue;
            node_json(loader, row, 0, &json);
            rows->rows[rows->count++] = (struct pipeline_text){
                mr_arena_str(loader->arena, mr_buf_as_str(&json)), place_of(row)};
            mr_buf_fini(&json);
        }
    }
    return list;
}

static void read_test(struct loader *loader, struct pipeline_test *test, yaml_node_t *key,
                      yaml_node_t *node)
{
    yaml_node_t *values[KEY_COUNT];
    test->name = mr_arena_str(loader->arena, scalar(key));
    test->place = place_of(key);
    if (!wants(loader, node, YAML_MAPPING_NODE, "a test", "`given:` and `expect:`"))
        return;
    read_keys(loader, IN_TEST, node, values);
    test->given = read_rows(loader, values[KEY_TEST_given], "given", &test->given_count);
    test->expect = read_rows(loader, values[KEY_TEST_expect], "expect", &test->expect_count);
    if (test->given_count == 0 || test->expect_count == 0)
        pipeline_mistake_add(loader->mistakes, test->place,
                             "test `%.*s` needs `given:` and `expect:`", MR_STR_ARG(test->name));
}

/* ---- the whole ---- */

/* The named children of a map; two of one name are a mistake. */
static size_t children(struct loader *loader, yaml_node_t *node, const char *what,
                       yaml_node_pair_t **first)
{
    if (node == NULL || !wants(loader, node, YAML_MAPPING_NODE, what, "a map of names"))
        return 0;
    yaml_node_pair_t *start = node->data.mapping.pairs.start, *end = node->data.mapping.pairs.top;
    for (yaml_node_pair_t *a = start; a < end; a++) {
        yaml_node_t *key = node_at(loader, a->key);
        if (!wants(loader, key, YAML_SCALAR_NODE, what, "words as names"))
            return 0;
        for (yaml_node_pair_t *b = start; b < a; b++)
            if (mr_str_equal(scalar(key), scalar(node_at(loader, b->key))))
                pipeline_mistake_add(loader->mistakes, place_of(key),
                                     "`%.*s` is named twice under `%s`", MR_STR_ARG(scalar(key)),
                                     what);
    }
    *first = start;
    return (size_t)(end - start);
}

/* When it is due has to be readable before anything starts. */
static void check_schedule(struct loader *loader, const struct pipeline *pipeline)
{
    struct scheduler_cron cron;
    struct scheduler_zone *zone = NULL;
    if (pipeline->at.text.length > 0 && scheduler_cron_parse(pipeline->at.text, &cron) != MR_OK)
        pipeline_mistake_add(loader->mistakes, pipeline->at.place, "`at`: %s", mr_why());
    if (scheduler_zone_open(pipeline->timezone.text, &zone) != MR_OK)
        pipeline_mistake_add(loader->mistakes, pipeline->timezone.place, "`timezone`: %s",
                             mr_why());
    scheduler_zone_close(zone);
}

static void read_head(struct loader *loader, struct pipeline *pipeline, yaml_node_t *root,
                      yaml_node_t *values[KEY_COUNT])
{
    static const char *const overlaps[] = {"skip", "queue", "allow"};
    loader->params = pairs(loader, values[KEY_PIPELINE_params], "params");
    struct pipeline_text name = text(loader, values[KEY_PIPELINE_pipeline], KEY_PIPELINE_pipeline);
    pipeline->name = name.text;
    if (values[KEY_PIPELINE_pipeline] == NULL)
        pipeline_mistake_add(loader->mistakes, place_of(root),
                             "the file has no `pipeline:` with the pipeline's name");
    else if (name.text.length > 0 && !is_name(name.text))
        pipeline_mistake_add(loader->mistakes, name.place,
                             "a pipeline's name is letters, digits, `_`, `-` and `.`");
    pipeline->about = text(loader, values[KEY_PIPELINE_about], KEY_PIPELINE_about).text;
    pipeline->every_us = duration(loader, values[KEY_PIPELINE_every], KEY_PIPELINE_every, 0);
    pipeline->at = text(loader, values[KEY_PIPELINE_at], KEY_PIPELINE_at);
    pipeline->timezone = text(loader, values[KEY_PIPELINE_timezone], KEY_PIPELINE_timezone);
    if (pipeline->timezone.text.length == 0)
        pipeline->timezone.text = MR_STR("UTC");
    check_schedule(loader, pipeline);
    if (values[KEY_PIPELINE_every] != NULL && values[KEY_PIPELINE_at] != NULL)
        pipeline_mistake_add(loader->mistakes, place_of(values[KEY_PIPELINE_at]),
                             "both `every` and `at` are given; expected one of them");
    pipeline->overlap = (enum pipeline_overlap)word(loader, values[KEY_PIPELINE_overlap],
                                                    KEY_PIPELINE_overlap, overlaps, 3);
    pipeline->catchup = boolean(loader, values[KEY_PIPELINE_catchup], KEY_PIPELINE_catchup);
    pipeline->connections = connections(loader, values[KEY_PIPELINE_connections]);
}

static void read_root(struct loader *loader, struct pipeline *pipeline, yaml_node_t *root)
{
    yaml_node_t *values[KEY_COUNT];
    yaml_node_pair_t *first = NULL;
    if (!wants(loader, root, YAML_MAPPING_NODE, "a pipeline file",
               "a map that begins with `pipeline: NAME`"))
        return;
    read_keys(loader, IN_PIPELINE, root, values);
    read_head(loader, pipeline, root, values);
    struct pipeline_retry tries = retry(loader, values[KEY_PIPELINE_retry],
                                        (struct pipeline_retry){0, 1000000, 60000000});

    size_t steps = children(loader, values[KEY_PIPELINE_steps], "steps", &first);
    pipeline->steps = mr_arena_array(loader->arena, struct pipeline_step, steps);
    for (; pipeline->step_count < steps; pipeline->step_count++)
        read_step(loader, pipeline, pipeline->step_count,
                  node_at(loader, first[pipeline->step_count].key),
                  node_at(loader, first[pipeline->step_count].value), tries);

    size_t streams = children(loader, values[KEY_PIPELINE_streams], "streams", &first);
    pipeline->streams = mr_arena_array(loader->arena, struct pipeline_stream, streams);
    for (; pipeline->stream_count < streams; pipeline->stream_count++)
        read_stream(loader, &pipeline->streams[pipeline->stream_count],
                    node_at(loader, first[pipeline->stream_count].key),
                    node_at(loader, first[pipeline->stream_count].value));

    size_t tests = children(loader, values[KEY_PIPELINE_tests], "tests", &first);
    pipeline->tests = mr_arena_array(loader->arena, struct pipeline_test, tests);
    for (; pipeline->test_count < tests; pipeline->test_count++)
        read_test(loader, &pipeline->tests[pipeline->test_count],
                  node_at(loader, first[pipeline->test_count].key),
                  node_at(loader, first[pipeline->test_count].value));
    if (steps == 0 && streams == 0)
        pipeline_mistake_add(loader->mistakes, place_of(root),
                             "the file has neither `steps:` nor `streams:`: nothing to do");
}

mr_err pipeline_parse(struct mr_arena *arena, mr_str source, struct pipeline **out,
                      struct pipeline_mistakes *mistakes)
{
    yaml_parser_t parser;
    yaml_document_t document;
    struct loader loader = {.arena = arena, .document = &document, .mistakes = mistakes};
    mistakes->arena = arena;
    mr_assert(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)source.data, source.length);
    if (!yaml_parser_load(&parser, &document)) {
        struct pipeline_place place = {(uint32_t)parser.problem_mark.line + 1,
                                       (uint32_t)parser.problem_mark.column + 1};
        pipeline_mistake_add(mistakes, place, "this is no YAML: %s%s%s",
                             parser.problem ? parser.problem : "unreadable",
                             parser.context ? " " : "", parser.context ? parser.context : "");
        yaml_parser_delete(&parser);
        return MR_INVALID;
    }
    struct pipeline *pipeline = mr_arena_new(arena, struct pipeline);
    yaml_node_t *root = yaml_document_get_root_node(&document);
    pipeline->text = mr_arena_str(arena, source);
    if (root == NULL)
        pipeline_mistake_add(mistakes, (struct pipeline_place){1, 1}, "the file is empty");
    else
        read_root(&loader, pipeline, root);
    yaml_document_delete(&document);
    yaml_parser_delete(&parser);
    *out = pipeline;
    return mistakes->list.count == 0 ? MR_OK : MR_INVALID;
}

mr_err pipeline_load(struct mr_arena *arena, const char *path, struct pipeline **out,
                     struct pipeline_mistakes *mistakes)
{
    struct mr_buf source = {0};
    mr_err err = mr_file_read(path, MR_LIMIT_PIPELINE_FILE_BYTES, &source);
    if (err == MR_OK)
        err = pipeline_parse(arena, mr_buf_as_str(&source), out, mistakes);
    mr_buf_fini(&source);
    return err;
}

ptrdiff_t pipeline_stream_find(const struct pipeline *pipeline, mr_str name)
{
    for (size_t i = 0; i < pipeline->stream_count; i++)
        if (mr_str_equal_nocase(pipeline->streams[i].name, name))
            return (ptrdiff_t)i;
    return -1;
}

mr_str pipeline_url(struct mr_arena *arena, mr_str path, mr_str connection, mr_str address)
{
    if (mr_str_find(path, MR_STR("://")) >= 0 || !mr_str_starts(path, connection) ||
        path.length <= connection.length || path.data[connection.length] != '/')
        return path;
    if (mr_str_ends(address, MR_STR("/")))
        address.length--;
    return mr_arena_printf(
        arena, "%s%.*s%.*s", mr_str_find(address, MR_STR("://")) < 0 ? "http://" : "",
        MR_STR_ARG(address), MR_STR_ARG(mr_str_slice(path, connection.length, path.length)));
}

static void print_connections(struct mr_buf *out)
{
    mr_buf_cstr(out,
                "\n## `connections:`\n\nEach is `embedded`, an address, or a map with `address:` "
                "and the settings below. The environment wins over the file, and the command line "
                "over both.\n\n| connection | key | environment | command line | what it means "
                "|\n|---|---|---|---|---|\n");
#define CONNECTION(id, value, environment, about) \
    mr_buf_cstr(out, "| `" #id "` | `address` | `" environment "` | `--" #id "` | " about " |\n");
#define SETTING(connection, id, option, value, environment, about)                           \
    mr_buf_printf(                                                                           \
        out, "| `" #connection "` | `" #id "` | `" environment "` | %s%s%s | " about " |\n", \
        option == NULL ? "" : "`", option == NULL ? "" : option, option == NULL ? "" : "`");
#define PLACE(id, about) \
    mr_buf_cstr(out, "| `" #id "` | `address` | | | " about " Only `embedded` so far. |\n");
#include "pipeline/connections.def"
}

void pipeline_print_docs(struct mr_buf *out)
{
    static const char *const titles[] = {"The file", "`retry:`", "`steps:`", "`streams:`",
                                         "`tests:`"};
    static const char *const kinds[] = {
        "a name",   "text",          "text or a list", "SQL",   "a duration",
        "a number", "true or false", "a map",          "a map", "a target or a list",
        "a word",   "a word",        "a word",         "a word"};
    mr_buf_cstr(out, "# The keys of a pipeline file\n\nPrinted by `millrace docs pipeline`.\n");
    for (size_t where = 0; where < mr_count_of(titles); where++) {
        mr_buf_printf(out, "\n## %s\n\n| key | value | what it means |\n|---|---|---|\n",
                      titles[where]);
        for (size_t i = 0; i < mr_count_of(key_rows); i++)
            if (key_rows[i].where == where)
                mr_buf_printf(out, "| `%s` | %s | %s |\n", key_rows[i].name,
                              kinds[key_rows[i].kind], key_rows[i].about);
    }
    print_connections(out);
}
