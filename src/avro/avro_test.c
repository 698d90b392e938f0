/* Schemas, resolution and both directions of the encoding, by the specification's examples and by what
 * fastavro wrote. */
#include "avro/avro.h"
#include "json/json.h"
#include "story.h"

#include <stdio.h>

static struct avro_schema *schema(const char *text)
{
    struct avro_schema *out;

    expect_ok(avro_schema_parse(mr_str_from(text), NULL, 0, &out));
    return out;
}

static mr_str canonical(const char *text)
{
    static struct mr_buf out;
    struct avro_schema *parsed = schema(text);

    mr_buf_clear(&out);
    avro_schema_canonical(parsed, &out);
    avro_schema_free(parsed);
    return mr_buf_as_str(&out);
}

static mr_str printed(const char *text, bool normalize)
{
    static struct mr_buf out;
    struct avro_schema *parsed = schema(text);

    mr_buf_clear(&out);
    avro_schema_print(parsed, normalize, &out);
    avro_schema_free(parsed);
    return mr_buf_as_str(&out);
}

STORY("schemas that say the same have one canonical form and fingerprint")
{
    expect_str(canonical("\"int\""), MR_STR("\"int\""));
    expect_str(canonical("{\"type\":\"int\",\"logicalType\":\"date\"}"), MR_STR("\"int\""));
    expect(avro_schema_fingerprint(MR_STR("\"int\"")) == 0x7275d51a3f395c8fu);
    expect(avro_schema_fingerprint(MR_STR("\"null\"")) == 0x63dd24e7cc258f8au);
    expect_str(
        canonical(
            "{\"type\":\"record\",\"name\":\"t\",\"namespace\":\"a.b\",\"doc\":\"x\",\"fields\":["
            "{\"name\":\"f\",\"default\":null,\"type\":[\"null\",\"long\"]},"
            "{\"name\":\"g\",\"type\":{\"symbols\":[\"X\"],\"type\":\"enum\",\"name\":\"E\"}},"
            "{\"name\":\"h\",\"type\":\"E\"},"
            "{\"name\":\"i\",\"type\":{\"type\":\"fixed\",\"name\":\"c.F\",\"size\":4}},"
            "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":{\"type\":\"array\",\"items\":"
            "\"t\"}}}]}"),
        MR_STR(
            "{\"name\":\"a.b.t\",\"type\":\"record\",\"fields\":[{\"name\":\"f\",\"type\":["
            "\"null\",\"long\"]},"
            "{\"name\":\"g\",\"type\":{\"name\":\"a.b.E\",\"type\":\"enum\",\"symbols\":[\"X\"]}},"
            "{\"name\":\"h\",\"type\":\"a.b.E\"},"
            "{\"name\":\"i\",\"type\":{\"name\":\"c.F\",\"type\":\"fixed\",\"size\":4}},"
            "{\"name\":\"m\",\"type\":{\"type\":\"map\",\"values\":{\"type\":\"array\",\"items\":"
            "\"a.b.t\"}}}]}"));
}

STORY("a schema is printed as Java prints it")
{
    expect_str(
        printed(" { \"name\": \"User\", \"namespace\" : \"a.b\", \"type\": \"record\", \"fields\": "
                "[{\"type\": {\"type\": \"long\", \"logicalType\": \"timestamp-micros\"}, "
                "\"name\": \"at\", \"doc\": \"d\"},"
                "{\"name\": \"next\", \"type\": [\"null\", \"a.b.User\"], \"default\": null}], "
                "\"zz\": 1}",
                false),
        MR_STR("{\"type\":\"record\",\"name\":\"User\",\"namespace\":\"a.b\",\"fields\":[{\"name\":"
               "\"at\",\"type\":"
               "{\"type\":\"long\",\"logicalType\":\"timestamp-micros\"},\"doc\":\"d\"},{\"name\":"
               "\"next\",\"type\":"
               "[\"null\",\"User\"],\"default\":null}],\"zz\":1}"));
    expect_str(printed("{\"type\":\"string\"}", false), MR_STR("\"string\""));
    expect_str(printed("{\"type\":\"int\",\"b\":1,\"a\":2}", true),
               MR_STR("{\"type\":\"int\",\"a\":2,\"b\":1}"));
}

STORY("what is no schema is refused")
{
    static const char *const bad[] = {
        "",
        "int",
        "\"nothing\"",
        "{}",
        "{\"type\":\"record\"}",
        "{\"type\":\"record\",\"name\":\"a b\",\"fields\":[]}",
        "{\"type\":\"record\",\"name\":\"a\"}",
        "{\"type\":\"record\",\"name\":\"a\",\"fields\":[{\"name\":\"x\"}]}",
        "{\"type\":\"record\",\"name\":\"a\",\"fields\":[{\"name\":\"x\",\"type\":\"int\"},{"
        "\"name\":\"x\",\"type\":\"int\"}]}",
        "{\"type\":\"enum\",\"name\":\"a\",\"symbols\":[\"x\",\"x\"]}",
        "{\"type\":\"enum\",\"name\":\"a\",\"symbols\":[\"1\"]}",
        "{\"type\":\"enum\",\"name\":\"a\",\"symbols\":[\"x\"],\"default\":\"y\"}",
        "{\"type\":\"fixed\",\"name\":\"a\"}",
        "{\"type\":\"fixed\",\"name\":\"a\",\"size\":-1}",
        "{\"type\":\"array\"}",
        "{\"type\":\"map\"}",
        "[\"int\",\"int\"]",
        "[\"int\",[\"null\"]]",
        "{\"type\":\"record\",\"name\":\"int\",\"fields\":[]}",
        "[{\"type\":\"fixed\",\"name\":\"a\",\"size\":1},{\"type\":\"fixed\",\"name\":\"a\","
        "\"size\":2}]",
        "7",
        "null",
    };
    struct avro_schema *out;

    for (size_t i = 0; i < mr_count_of(bad); i++) {
        if (avro_schema_parse(mr_str_from(bad[i]), NULL, 0, &out) != MR_INVALID)
            story_fail(__FILE__, __LINE__, "taken: %s", bad[i]);
    }
}

STORY("a default has to fit its field")
{
    static const struct {
        const char *type, *value;
        bool good;
    } table[] = {
        {"\"int\"", "1", true},
        {"\"int\"", "1.5", false},
        {"\"int\"", "3000000000", false},
        {"\"long\"", "3000000000", true},
        {"\"string\"", "\"\"", true},
        {"\"string\"", "null", false},
        {"[\"null\",\"int\"]", "null", true},
        {"[\"null\",\"int\"]", "1", false},
        {"[\"int\",\"null\"]", "1", true},
        {"{\"type\":\"array\",\"items\":\"int\"}", "[]", true},
        {"{\"type\":\"array\",\"items\":\"int\"}", "[\"a\"]", false},
        {"{\"type\":\"map\",\"values\":\"int\"}", "{\"a\":1}", true},
        {"\"double\"", "1", true},
        {"\"boolean\"", "true", true},
        {"\"boolean\"", "0", false},
        {"\"bytes\"", "\"\\u00ff\"", true},
    };
    char text[400];

    for (size_t i = 0; i < mr_count_of(table); i++) {
        snprintf(text, sizeof text,
                 "{\"type\":\"record\",\"name\":\"r\",\"fields\":[{\"name\":\"f\",\"type\":%s,"
                 "\"default\":%s}]}",
                 table[i].type, table[i].value);
        struct avro_schema *parsed = schema(text);
        if ((avro_schema_check_defaults(parsed) == MR_OK) != table[i].good)
            story_fail(__FILE__, __LINE__, "%s", text);
        avro_schema_free(parsed);
    }
}

STORY("names come from schemas that are referred to")
{
    mr_str references[] = {
        MR_STR("{\"type\":\"fixed\",\"name\":\"b.F\",\"size\":1}"),
        MR_STR(
            "{\"type\":\"record\",\"name\":\"b.A\",\"fields\":[{\"name\":\"f\",\"type\":\"F\"}]}")};
    mr_str text = MR_STR(
        "{\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"a\",\"type\":\"b.A\"}]}");
    struct avro_schema *out;
    struct mr_buf print = {0};

    expect_err(avro_schema_parse(text, NULL, 0, &out), MR_INVALID);
    expect_ok(avro_schema_parse(text, references, 2, &out));
    avro_schema_print(out, false, &print);
    expect_str(mr_buf_as_str(&print), text);
    mr_buf_fini(&print);
    avro_schema_free(out);
}

/* ---- resolution ---- */
static mr_str problems(const char *reader_text, const char *writer_text)
{
    static struct mr_buf out;
    struct mr_arena arena = {0};
    struct avro_schema *reader = schema(reader_text), *writer = schema(writer_text);

    mr_buf_clear(&out);
    for (struct avro_problem *problem =
             avro_compatible(avro_schema_root(reader), avro_schema_root(writer), &arena);
         problem != NULL; problem = problem->next)
        mr_buf_printf(&out, "%s%.*s %.*s %.*s", out.length > 0 ? "; " : "",
                      MR_STR_ARG(problem->kind), MR_STR_ARG(problem->path),
                      MR_STR_ARG(problem->message));
    avro_schema_free(reader);
    avro_schema_free(writer);
    mr_arena_fini(&arena);
    return mr_buf_as_str(&out);
}

STORY("numbers and text widen as the specification says, and no further")
{
    static const char *const kinds[] = {"null",  "boolean", "int",   "long",
                                        "float", "double",  "bytes", "string"};
    static const char *const readable[] = {
        "null",         "boolean",     "int", "int long", "int long float", "int long float double",
        "bytes string", "bytes string"};
    char reader[20], writer[20];

    for (size_t r = 0; r < mr_count_of(kinds); r++) {
        for (size_t w = 0; w < mr_count_of(kinds); w++) {
            mr_str list = mr_str_from(readable[r]), word;
            bool good = false;
            while (mr_str_split(&list, ' ', &word))
                good |= mr_str_equal(word, mr_str_from(kinds[w]));
            snprintf(reader, sizeof reader, "\"%s\"", kinds[r]);
            snprintf(writer, sizeof writer, "\"%s\"", kinds[w]);
            if ((problems(reader, writer).length == 0) != good)
                story_fail(__FILE__, __LINE__, "%s reads %s", kinds[r], kinds[w]);
        }
    }
}

#define RECORD(name, fields) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" fields "]}"
#define FIELD(name, type) "{\"name\":\"" name "\",\"type\":" type "}"

STORY("records meet by their fields' names, aliases and defaults")
{
    expect_str(problems(RECORD("R", ""), RECORD("R", FIELD("a", "\"int\""))), MR_STR(""));
    expect_str(problems(RECORD("R", FIELD("a", "\"int\"") "," FIELD("b", "\"int\"")),
                        RECORD("R", FIELD("a", "\"int\""))),
               MR_STR("READER_FIELD_MISSING_DEFAULT_VALUE /fields/1 b"));
    expect_str(
        problems(RECORD("R", "{\"name\":\"b\",\"type\":\"int\",\"default\":1}"), RECORD("R", "")),
        MR_STR(""));
    expect_str(problems(RECORD("R", "{\"name\":\"b\",\"type\":\"int\",\"aliases\":[\"a\"]}"),
                        RECORD("R", FIELD("a", "\"int\""))),
               MR_STR(""));
    expect_str(problems(RECORD("R", FIELD("a", "\"string\"")), RECORD("R", FIELD("a", "\"int\""))),
               MR_STR("TYPE_MISMATCH /fields/0/type reader type: STRING not compatible with writer "
                      "type: INT"));
    expect_str(problems(RECORD("S", ""), RECORD("R", "")),
               MR_STR("NAME_MISMATCH /name expected: R"));
    expect_str(problems("{\"type\":\"record\",\"name\":\"S\",\"aliases\":[\"R\"],\"fields\":[]}",
                        RECORD("R", "")),
               MR_STR(""));
    expect_str(problems(RECORD("a.R", ""), RECORD("b.R", "")), MR_STR(""));
}

STORY("unions, enums, fixed and collections resolve")
{
    expect_str(problems("[\"null\",\"int\"]", "\"int\""), MR_STR(""));
    expect_str(problems("\"int\"", "[\"int\"]"), MR_STR(""));
    expect_str(problems("\"int\"", "[\"null\",\"int\"]"),
               MR_STR("TYPE_MISMATCH / reader type: INT not compatible with writer type: NULL"));
    expect_str(problems("[\"null\",\"long\"]", "[\"null\",\"int\"]"), MR_STR(""));
    expect_str(problems("[\"null\",\"int\"]", "[\"null\",\"string\"]"),
               MR_STR("MISSING_UNION_BRANCH /1 reader union lacking writer type: STRING"));
    expect_str(problems("[\"null\",\"int\"]", "\"string\""),
               MR_STR("MISSING_UNION_BRANCH / reader union lacking writer type: STRING"));
    expect_str(problems("{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\"]}",
                        "{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\",\"C\"]}"),
               MR_STR("MISSING_ENUM_SYMBOLS /symbols [B, C]"));
    expect_str(problems("{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\"],\"default\":\"A\"}",
                        "{\"type\":\"enum\",\"name\":\"e\",\"symbols\":[\"A\",\"B\"]}"),
               MR_STR(""));
    expect_str(problems("{\"type\":\"fixed\",\"name\":\"f\",\"size\":2}",
                        "{\"type\":\"fixed\",\"name\":\"f\",\"size\":3}"),
               MR_STR("FIXED_SIZE_MISMATCH /size expected: 3, found: 2"));
    expect_str(
        problems("{\"type\":\"array\",\"items\":\"int\"}",
                 "{\"type\":\"array\",\"items\":\"string\"}"),
        MR_STR("TYPE_MISMATCH /items reader type: INT not compatible with writer type: STRING"));
    expect_str(problems("{\"type\":\"map\",\"values\":\"double\"}",
                        "{\"type\":\"map\",\"values\":\"int\"}"),
               MR_STR(""));
}

STORY("a recursive type is compared once")
{
    const char *list = RECORD("L", FIELD("v", "\"int\"") "," FIELD("next", "[\"null\",\"L\"]"));
    const char *wide = RECORD("L", FIELD("v", "\"long\"") "," FIELD("next", "[\"null\",\"L\"]"));
    struct mr_arena arena = {0};
    const struct data_type *type;
    struct avro_schema *parsed = schema(list);
    bool nullable;

    expect_str(problems(list, list), MR_STR(""));
    expect_str(problems(wide, list), MR_STR(""));
    expect(problems(list, wide).length > 0);
    expect_err(avro_type_of(avro_schema_root(parsed), &arena, &type, &nullable), MR_UNSUPPORTED);
    avro_schema_free(parsed);
}

/* ---- bytes ---- */
static bool same_value(const struct json_value *a, const struct json_value *b)
{
    if (a->kind != b->kind || a->count != b->count || !mr_str_equal(a->name, b->name))
        return false;
    if (a->kind == JSON_STRING)
        return mr_str_equal(a->text, b->text);
    for (uint32_t i = 0; i < a->count; i++) {
        if (!same_value(&a->items[i], &b->items[i]))
            return false;
    }
    return a->kind == JSON_OBJECT || a->kind == JSON_ARRAY || mr_str_equal(a->raw, b->raw);
}

/* Through columns and back; false when the schema has no column type or no way back. */
static bool through_columns(const struct avro_node *root, mr_str bytes, struct mr_buf *out)
{
    struct mr_arena arena = {0};
    const struct data_type *type;
    struct avro_decoder *decoder = NULL;
    struct avro_encoder *encoder = NULL;
    bool nullable, done = false;

    if (avro_type_of(root, &arena, &type, &nullable) != MR_OK)
        return false;
    expect_ok(avro_decoder_new(root, type, &decoder));
    avro_decoder_begin(decoder, &arena, 3);
    expect_ok(avro_decoder_read(decoder, 1, bytes));
    struct data_column *column = avro_decoder_end(decoder);
    if (avro_encoder_new(root, type, &encoder) == MR_OK) {
        expect_ok(avro_encoder_write(encoder, column, 1, out));
        done = true;
    }
    avro_decoder_free(decoder);
    avro_encoder_free(encoder);
    mr_arena_fini(&arena);
    return done;
}

STORY("what fastavro wrote is read, and written again byte by byte")
{
    mr_str text = story_data("avro/fastavro.txt"), line, schema_text, json;
    size_t count = 0, back = 0;

    while (mr_str_split(&text, '\n', &line)) {
        if (line.length == 0 || line.data[0] == '#')
            continue;
        struct mr_arena arena = {0};
        struct mr_buf out = {0}, again = {0};
        const struct json_value *expected, *found;
        struct avro_schema *parsed;
        mr_str_split(&line, '\t', &schema_text);
        mr_str_split(&line, '\t', &json);
        struct mr_bytes *bytes = story_hex(line.data == NULL ? MR_STR("") : line);
        mr_str record = mr_str_of(bytes->data, bytes->length);
        expect_ok(avro_schema_parse(schema_text, NULL, 0, &parsed));
        expect_ok(avro_print_json(avro_schema_root(parsed), record, &out));
        expect_ok(json_parse(&arena, json, &expected));
        expect_ok(json_parse(&arena, mr_buf_as_str(&out), &found));
        if (!same_value(expected, found))
            story_fail(__FILE__, __LINE__, "%.*s: %.*s, expected %.*s", MR_STR_ARG(schema_text),
                       MR_STR_ARG(mr_buf_as_str(&out)), MR_STR_ARG(json));
        if (through_columns(avro_schema_root(parsed), record, &again)) {
            if (!mr_str_equal(mr_buf_as_str(&again), record))
                story_fail(__FILE__, __LINE__, "%.*s: other bytes for %.*s",
                           MR_STR_ARG(schema_text), MR_STR_ARG(json));
            back++;
        }
        count++;
        mr_bytes_unref(bytes);
        avro_schema_free(parsed);
        mr_buf_fini(&out);
        mr_buf_fini(&again);
        mr_arena_fini(&arena);
    }
    expect(count >= 200 && back >= 150);
}

STORY("only what is wanted is read, wider or elsewhere")
{
    struct avro_schema *parsed = schema(RECORD(
        "R",
        FIELD("a", "\"int\"") "," FIELD(
            "skip",
            "{\"type\":\"array\",\"items\":{\"type\":\"map\","
            "\"values\":\"string\"}}") "," FIELD("n",
                                                 RECORD(
                                                     "N",
                                                     FIELD("x", "\"string\"") "," FIELD(
                                                         "y",
                                                         "[\"null\",\"long\"]"))) "," FIELD("t",
                                                                                            "{\"typ"
                                                                                            "e\":"
                                                                                            "\"long"
                                                                                            "\","
                                                                                            "\"logi"
                                                                                            "calTyp"
                                                                                            "e\":"
                                                                                            "\"time"
                                                                                            "stamp-"
                                                                                            "millis"
                                                                                            "\""
                                                                                            "}")));
    struct mr_arena arena = {0};
    const struct data_type *type;
    struct avro_decoder *decoder;
    struct mr_buf record = {0}, text = {0};

    avro_put_long(&record, 7);
    avro_put_long(&record, 1);
    avro_put_long(&record, 1);
    avro_put_string(&record, MR_STR("k"));
    avro_put_string(&record, MR_STR("v"));
    avro_put_long(&record, 0);
    avro_put_long(&record, 0);
    avro_put_string(&record, MR_STR("text"));
    avro_put_union_index(&record, 1);
    avro_put_long(&record, -5);
    avro_put_long(&record, 1577934245123);
    expect_ok(data_type_parse(&arena,
                              MR_STR("STRUCT<t: TIMESTAMP, N: STRUCT<y: DECIMAL(5,1), z: "
                                     "ARRAY<INT>>, a: DOUBLE, absent: INT>"),
                              &type));
    expect_ok(avro_decoder_new(avro_schema_root(parsed), type, &decoder));
    avro_decoder_begin(decoder, &arena, 1);
    expect_ok(avro_decoder_read(decoder, 0, mr_buf_as_str(&record)));
    data_value_print(&text, avro_decoder_end(decoder), 0);
    expect_str(mr_buf_as_str(&text), MR_STR("{2020-01-02 03:04:05.123, {-5.0, null}, 7.0, null}"));
    avro_decoder_free(decoder);
    expect_ok(data_type_parse(&arena, MR_STR("STRUCT<n: STRUCT<x: INT>>"), &type));
    expect_err(avro_decoder_new(avro_schema_root(parsed), type, &decoder), MR_INVALID);
    avro_schema_free(parsed);
}

STORY("bad bytes spoil their own row only")
{
    struct avro_schema *parsed = schema(RECORD(
        "R", FIELD("a", "\"string\"") "," FIELD("l", "{\"type\":\"array\",\"items\":\"int\"}")));
    static const struct {
        const char *bytes;
        size_t length;
        bool good;
    } table[] = {
        {"\x02x\x02\x06\x00", 5, true},
        {"\x02x\x02\x06", 4, false},
        {"\x02x\x02\x06\x00\x00", 6, false},
        {"\x7fx\x00", 3, false},
        {"\x01", 1, false},
        {"", 0, false},
        {"\x02\xff\x00", 3, false},
        {"\x02y\x03\x04\x02\x04\x00", 7, true},
        {"\x02y\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12, false},
        {"\x00\x02\x08\x00", 4, true},
    };
    struct mr_arena arena = {0};
    const struct data_type *type;
    struct avro_decoder *decoder;
    bool nullable;

    expect_ok(avro_type_of(avro_schema_root(parsed), &arena, &type, &nullable));
    expect_ok(avro_decoder_new(avro_schema_root(parsed), type, &decoder));
    avro_decoder_begin(decoder, &arena, mr_count_of(table));
    for (uint32_t i = 0; i < mr_count_of(table); i++) {
        mr_err err = avro_decoder_read(decoder, i, mr_str_of(table[i].bytes, table[i].length));
        if ((err == MR_OK) != table[i].good)
            story_fail(__FILE__, __LINE__, "row %u: %s %s", i, mr_err_name(err), mr_why());
    }
    struct data_column *column = avro_decoder_end(decoder);
    for (uint32_t i = 0; i < mr_count_of(table); i++)
        expect_int(column->valid[i], table[i].good);
    struct mr_buf text = {0};
    data_value_print(&text, column, 0);
    data_value_print(&text, column, 7);
    data_value_print(&text, column, 9);
    expect_str(mr_buf_as_str(&text), MR_STR("{x, [3]}{y, [1, 2]}{, [4]}"));
    avro_decoder_free(decoder);
    avro_schema_free(parsed);
}

STORY("a type's own schema reads and writes it")
{
    struct mr_arena arena = {0};
    const struct data_type *type, *back;
    struct mr_buf text = {0}, ddl = {0};
    struct avro_schema *parsed;
    bool nullable;

    expect_ok(data_type_parse(
        &arena,
        MR_STR("a TINYINT, b STRUCT<c: ARRAY<STRUCT<d: DATE>>, e: MAP<STRING, DECIMAL(9,2)>>, "
               "f TIMESTAMP, g BINARY, h TIMESTAMP_NTZ"),
        &type));
    expect_ok(avro_type_schema(type, MR_STR("millrace.users"), &text));
    expect_ok(avro_schema_parse(mr_buf_as_str(&text), NULL, 0, &parsed));
    expect_ok(avro_schema_check_defaults(parsed));
    expect_ok(avro_type_of(avro_schema_root(parsed), &arena, &back, &nullable));
    data_type_print(&ddl, back);
    expect_str(mr_buf_as_str(&ddl),
               MR_STR("struct<a:int,b:struct<c:array<struct<d:date>>,e:map<string,decimal(9,2)>>,"
                      "f:timestamp,g:binary,h:timestamp_ntz>"));
    avro_schema_free(parsed);
    expect_ok(data_type_parse(&arena, MR_STR("`count(1)` BIGINT"), &type));
    expect_err(avro_type_schema(type, MR_STR("x"), &text), MR_INVALID);
}

STORY("values that a schema cannot hold are refused, and leave nothing behind")
{
    struct avro_schema *parsed = schema(
        RECORD("R", FIELD("e", "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\"]}") "," FIELD(
                        "n", "\"int\"")));
    struct mr_arena arena = {0};
    const struct data_type *type;
    struct avro_encoder *encoder;
    struct mr_buf out = {0};

    expect_ok(data_type_parse(&arena, MR_STR("n BIGINT, e STRING"), &type));
    expect_ok(avro_encoder_new(avro_schema_root(parsed), type, &encoder));
    struct data_column *column = data_column_new(&arena, type, 4);
    for (uint32_t i = 0; i < 4; i++) {
        column->valid[i] = column->fields[0]->valid[i] = 1;
        column->fields[1]->valid[i] = i != 2;
        column->fields[0]->longs[i] = i == 1 ? 3000000000 : 5;
        column->fields[1]->strs[i] = i == 3 ? MR_STR("B") : MR_STR("A");
    }
    mr_buf_u8(&out, 99);
    expect_ok(avro_encoder_write(encoder, column, 0, &out));
    expect_int(out.length, 3);
    for (uint32_t i = 1; i < 4; i++)
        expect_err(avro_encoder_write(encoder, column, i, &out), MR_INVALID);
    expect_int(out.length, 3);
    expect_ok(avro_encoder_write_row(encoder, column->fields, 0, &out));
    expect_str(mr_buf_as_str(&out), MR_STR("c\x00\x0a\x00\x0a"));
    avro_encoder_free(encoder);
    expect_ok(data_type_parse(&arena, MR_STR("n STRING, e STRING"), &type));
    expect_err(avro_encoder_new(avro_schema_root(parsed), type, &encoder), MR_INVALID);
    avro_schema_free(parsed);
}

STORY("Confluent's frame")
{
    struct mr_buf out = {0};
    int32_t id = 0;

    avro_put_frame(&out, 258);
    mr_buf_cstr(&out, "rest");
    mr_str bytes = mr_buf_as_str(&out), bad = MR_STR("\x01\x00\x00\x00\x01");
    expect_ok(avro_take_frame(&bytes, &id));
    expect_int(id, 258);
    expect_str(bytes, MR_STR("rest"));
    expect_err(avro_take_frame(&bad, &id), MR_CORRUPT);
    bad = MR_STR("\x00\x00");
    expect_err(avro_take_frame(&bad, &id), MR_CORRUPT);
}
