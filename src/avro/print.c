/* avro/print.c: a schema back to text: as Java's Schema.toString() (what a registry keeps), in Parsing
 * Canonical Form, and the fingerprint of that. */
#include "avro/schema.h"

#include <stdlib.h>

struct printer {
    struct mr_buf *out;
    uint8_t *done; /* by node: its definition has been printed */
    bool normalize;
};

static void quote(struct mr_buf *out, mr_str text)
{
    mr_buf_json(out, text);
}

static void key(struct mr_buf *out, const char *name)
{
    if (out->length > 0 && out->data[out->length - 1] != '{')
        mr_buf_u8(out, ',');
    quote(out, mr_str_from(name));
    mr_buf_u8(out, ':');
}

/* ---- Parsing Canonical Form ---- */
static void canonical(struct printer *p, const struct avro_node *node);

static void canonical_record(struct printer *p, const struct avro_node *node)
{
    key(p->out, "fields");
    mr_buf_u8(p->out, '[');
    for (uint32_t i = 0; i < node->field_count; i++) {
        mr_buf_cstr(p->out, i > 0 ? ",{\"name\":" : "{\"name\":");
        quote(p->out, node->fields[i].name);
        mr_buf_cstr(p->out, ",\"type\":");
        canonical(p, node->fields[i].type);
        mr_buf_u8(p->out, '}');
    }
    mr_buf_u8(p->out, ']');
}

static void print_symbols(struct mr_buf *out, const struct avro_node *node)
{
    key(out, "symbols");
    mr_buf_u8(out, '[');
    for (uint32_t i = 0; i < node->symbol_count; i++) {
        mr_buf_cstr(out, i > 0 ? "," : "");
        quote(out, node->symbols[i]);
    }
    mr_buf_u8(out, ']');
}

static void canonical_named(struct printer *p, const struct avro_node *node)
{
    if (p->done[node->index]) {
        quote(p->out, node->name);
        return;
    }
    p->done[node->index] = 1;
    mr_buf_u8(p->out, '{');
    key(p->out, "name");
    quote(p->out, node->name);
    key(p->out, "type");
    quote(p->out, avro_kind_word(node->kind));
    if (node->kind == AVRO_RECORD) {
        canonical_record(p, node);
    } else if (node->kind == AVRO_ENUM) {
        print_symbols(p->out, node);
    } else {
        key(p->out, "size");
        mr_buf_printf(p->out, "%u", node->size);
    }
    mr_buf_u8(p->out, '}');
}

static void canonical(struct printer *p, const struct avro_node *node)
{
    if (node->kind == AVRO_UNION) {
        mr_buf_u8(p->out, '[');
        for (uint32_t i = 0; i < node->branch_count; i++) {
            mr_buf_cstr(p->out, i > 0 ? "," : "");
            canonical(p, node->branches[i]);
        }
        mr_buf_u8(p->out, ']');
    } else if (node->kind == AVRO_ARRAY || node->kind == AVRO_MAP) {
        mr_buf_cstr(p->out, node->kind == AVRO_ARRAY ? "{\"type\":\"array\",\"items\":"
                                                     : "{\"type\":\"map\",\"values\":");
        canonical(p, node->element);
        mr_buf_u8(p->out, '}');
    } else if (node->name.data != NULL) {
        canonical_named(p, node);
    } else {
        quote(p->out, avro_kind_word(node->kind));
    }
}

void avro_schema_canonical(const struct avro_schema *schema, struct mr_buf *out)
{
    struct printer printer = {out, mr_alloc_zero(schema->node_count + 1, 1), false};

    canonical(&printer, schema->root);
    mr_free(printer.done);
}

/* CRC-64-AVRO (specification, "Schema Fingerprints"), bit by bit: nobody is in a hurry. */
uint64_t avro_schema_fingerprint(mr_str text)
{
    const uint64_t empty = 0xc15d213aa4d7a795u;
    uint64_t fingerprint = empty;

    for (size_t i = 0; i < text.length; i++) {
        uint64_t entry = (fingerprint ^ (uint8_t)text.data[i]) & 0xff;
        for (int bit = 0; bit < 8; bit++)
            entry = entry >> 1 ^ (empty & -(entry & 1));
        fingerprint = fingerprint >> 8 ^ entry;
    }
    return fingerprint;
}

/* ---- as Java prints it ---- */
static void print(struct printer *p, const struct avro_node *node, mr_str space);

static int by_name(const void *a, const void *b)
{
    const struct json_value *const *x = a, *const *y = b;
    return mr_str_compare((*x)->name, (*y)->name);
}

static bool reserved(mr_str name, const char *words)
{
    mr_str list = mr_str_from(words), word;

    while (mr_str_split(&list, ' ', &word)) {
        if (mr_str_equal(name, word))
            return true;
    }
    return false;
}

/* Every property of `source` that is none of `words`, in the text's order or by name. */
static void print_others(struct printer *p, const struct json_value *source, const char *words)
{
    if (source->kind != JSON_OBJECT)
        return;
    const struct json_value **others = mr_new_array(const struct json_value *, source->count + 1);
    size_t count = 0;
    for (uint32_t i = 0; i < source->count; i++) {
        if (!reserved(source->items[i].name, words))
            others[count++] = &source->items[i];
    }
    if (p->normalize)
        qsort(others, count, sizeof(struct json_value *), by_name);
    for (size_t i = 0; i < count; i++) {
        mr_buf_u8(p->out, ',');
        quote(p->out, others[i]->name);
        mr_buf_u8(p->out, ':');
        json_print(p->out, others[i]);
    }
    mr_free(others);
}

static void print_property(struct printer *p, const struct json_value *source, const char *name)
{
    const struct json_value *value = json_get(source, mr_str_from(name));

    if (value == NULL)
        return;
    key(p->out, name);
    json_print(p->out, value);
}

static void print_field(struct printer *p, const struct avro_field *field, mr_str space)
{
    mr_str order = json_str(json_get(field->source, MR_STR("order")), MR_STR("ascending"));

    mr_buf_u8(p->out, '{');
    key(p->out, "name");
    quote(p->out, field->name);
    key(p->out, "type");
    print(p, field->type, space);
    print_property(p, field->source, "doc");
    print_property(p, field->source, "default");
    if (!mr_str_equal(order, MR_STR("ascending")))
        print_property(p, field->source, "order");
    if (field->alias_count > 0)
        print_property(p, field->source, "aliases");
    print_others(p, field->source, "name type doc default order aliases");
    mr_buf_u8(p->out, '}');
}

static void print_name(struct printer *p, const struct avro_node *node, mr_str space)
{
    mr_str own = avro_name_space(node->name);

    key(p->out, "name");
    quote(p->out, avro_name_simple(node->name));
    if (!mr_str_equal(own, space)) {
        key(p->out, "namespace");
        quote(p->out, own);
    }
}

static void print_aliases(struct printer *p, const struct avro_node *node)
{
    if (node->alias_count == 0)
        return;
    key(p->out, "aliases");
    mr_buf_u8(p->out, '[');
    for (uint32_t i = 0; i < node->alias_count; i++) {
        bool same = mr_str_equal(avro_name_space(node->aliases[i]), avro_name_space(node->name));
        mr_buf_cstr(p->out, i > 0 ? "," : "");
        quote(p->out, same ? avro_name_simple(node->aliases[i]) : node->aliases[i]);
    }
    mr_buf_u8(p->out, ']');
}

static void print_named(struct printer *p, const struct avro_node *node, mr_str space)
{
    mr_str own = avro_name_space(node->name);

    if (p->done[node->index]) {
        quote(p->out, mr_str_equal(own, space) ? avro_name_simple(node->name) : node->name);
        return;
    }
    p->done[node->index] = 1;
    mr_buf_u8(p->out, '{');
    key(p->out, "type");
    quote(p->out, json_str(json_get(node->source, MR_STR("type")), MR_STR("record")));
    print_name(p, node, space);
    print_property(p, node->source, "doc");
    if (node->kind == AVRO_RECORD) {
        key(p->out, "fields");
        mr_buf_u8(p->out, '[');
        for (uint32_t i = 0; i < node->field_count; i++) {
            mr_buf_cstr(p->out, i > 0 ? "," : "");
            print_field(p, &node->fields[i], own);
        }
        mr_buf_u8(p->out, ']');
    } else if (node->kind == AVRO_ENUM) {
        print_symbols(p->out, node);
        print_property(p, node->source, "default");
    } else {
        print_property(p, node->source, "size");
    }
    print_others(p, node->source,
                 node->kind == AVRO_RECORD ? "type name namespace doc fields aliases"
                 : node->kind == AVRO_ENUM ? "type name namespace doc symbols default aliases"
                                           : "type name namespace doc size aliases");
    print_aliases(p, node);
    mr_buf_u8(p->out, '}');
}

static void print(struct printer *p, const struct avro_node *node, mr_str space)
{
    if (node->name.data != NULL) {
        print_named(p, node, space);
    } else if (node->kind == AVRO_UNION) {
        mr_buf_u8(p->out, '[');
        for (uint32_t i = 0; i < node->branch_count; i++) {
            mr_buf_cstr(p->out, i > 0 ? "," : "");
            print(p, node->branches[i], space);
        }
        mr_buf_u8(p->out, ']');
    } else if (node->kind == AVRO_ARRAY || node->kind == AVRO_MAP) {
        mr_buf_u8(p->out, '{');
        key(p->out, "type");
        quote(p->out, avro_kind_word(node->kind));
        key(p->out, node->kind == AVRO_ARRAY ? "items" : "values");
        print(p, node->element, space);
        print_others(p, node->source, node->kind == AVRO_ARRAY ? "type items" : "type values");
        mr_buf_u8(p->out, '}');
    } else if (node->source->kind == JSON_OBJECT && node->source->count > 1) {
        mr_buf_u8(p->out, '{');
        key(p->out, "type");
        quote(p->out, avro_kind_word(node->kind));
        print_others(p, node->source, "type");
        mr_buf_u8(p->out, '}');
    } else {
        quote(p->out, avro_kind_word(node->kind));
    }
}

/* Named types that the schema has from references are printed by name only. */
static void mark_references(const struct avro_schema *schema, uint8_t *done)
{
    struct mr_map_entry *entry;

    for (size_t i = 0; (entry = mr_map_next(&schema->names, &i)) != NULL;) {
        const struct avro_node *node = entry->value;
        const char *begin = schema->root->source->raw.data;
        const char *at = node->source->raw.data;
        done[node->index] = at < begin || at >= begin + schema->root->source->raw.length;
    }
}

void avro_schema_print(const struct avro_schema *schema, bool normalize, struct mr_buf *out)
{
    struct printer printer = {out, mr_alloc_zero(schema->node_count + 1, 1), normalize};

    mark_references(schema, printer.done);
    print(&printer, schema->root, MR_STR(""));
    mr_free(printer.done);
}
