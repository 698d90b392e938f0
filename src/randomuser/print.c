/* randomuser/print.c: users as JSON, CSV, YAML and XML: one walk over fields.def for each. */
#include "randomuser/page.h"

enum kind { OPEN, CLOSE, TEXT, NUMBER, CODE, NOTHING };
struct field {
    enum kind kind;
    uint32_t group; /* its bit */
    const char *name;
    mr_str label; /* "name": in JSON */
    size_t offset;
};
enum { DEPTH_MAX = 4 };

static const struct field fields[] = {
#define ROW(kind, group, name, offset) \
    {kind, 1u << RANDOMUSER_GROUP_##group, #name, {"\"" #name "\":", sizeof #name + 2}, offset},
#define OPEN(group, name) ROW(OPEN, group, name, 0)
#define CLOSE(group, name) ROW(CLOSE, group, name, 0)
#define TEXT(group, name, member) ROW(TEXT, group, name, offsetof(struct randomuser_user, member))
#define NUMBER(group, name, member) \
    ROW(NUMBER, group, name, offsetof(struct randomuser_user, member))
#define CODE(group, name, member) ROW(CODE, group, name, offsetof(struct randomuser_user, member))
#define NOTHING(group, name, member) \
    ROW(NOTHING, group, name, offsetof(struct randomuser_user, member))
#include "randomuser/fields.def"
#undef ROW
};

static const void *member(const struct randomuser_user *user, const struct field *field)
{
    return (const char *)user + field->offset;
}

static mr_str text_of(const struct randomuser_user *user, const struct field *field)
{
    mr_str text;
    memcpy(&text, member(user, field), sizeof text);
    return text;
}

static int64_t number_of(const struct randomuser_user *user, const struct field *field)
{
    int64_t number;
    memcpy(&number, member(user, field), sizeof number);
    return number;
}

static void put_number(struct mr_buf *out, int64_t number)
{
    char digits[24];
    size_t at = sizeof digits;
    uint64_t size = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    do
        digits[--at] = (char)('0' + size % 10);
    while ((size /= 10) > 0);
    if (number < 0)
        digits[--at] = '-';
    mr_buf_add(out, digits + at, sizeof digits - at);
}

/* A leaf as JSON has it, which is YAML as well. */
static void put_leaf(struct mr_buf *out, const struct randomuser_user *user,
                     const struct field *field)
{
    if (field->kind == NUMBER)
        put_number(out, number_of(user, field));
    else if (field->kind == CODE && user->postcode_is_number)
        mr_buf_str(out, text_of(user, field));
    else if (field->kind == NOTHING && text_of(user, field).data == NULL)
        mr_buf_cstr(out, "null");
    else
        mr_buf_json(out, text_of(user, field));
}

/* ---- JSON ---- */
static void new_line(struct mr_buf *out, bool pretty, int depth)
{
    if (!pretty)
        return;
    mr_buf_u8(out, '\n');
    for (int i = 0; i < depth; i++)
        mr_buf_cstr(out, "  ");
}

static void json_user(struct randomuser_page *page, const struct randomuser_user *user)
{
    struct mr_buf *out = page->out;
    bool pretty = page->format == RANDOMUSER_PRETTY, first = true;
    int depth = 3;
    if (page->made > 0)
        mr_buf_u8(out, ',');
    new_line(out, pretty, depth - 1);
    mr_buf_u8(out, '{');
    for (size_t i = 0; i < mr_count_of(fields); i++) {
        const struct field *field = &fields[i];
        if ((page->groups & field->group) == 0)
            continue;
        if (field->kind == CLOSE) {
            new_line(out, pretty, --depth);
            mr_buf_u8(out, '}');
            first = false;
            continue;
        }
        if (!first)
            mr_buf_u8(out, ',');
        new_line(out, pretty, depth);
        mr_buf_str(out, field->label);
        if (pretty)
            mr_buf_u8(out, ' ');
        first = field->kind == OPEN;
        if (first)
            depth++;
        if (first)
            mr_buf_u8(out, '{');
        else
            put_leaf(out, user, field);
    }
    if (!first)
        new_line(out, pretty, depth - 1);
    mr_buf_u8(out, '}');
}

static void json_begin(struct randomuser_page *page)
{
    bool pretty = page->format == RANDOMUSER_PRETTY;
    if (page->callback.data != NULL) {
        mr_buf_str(page->out, page->callback);
        mr_buf_u8(page->out, '(');
    }
    mr_buf_u8(page->out, '{');
    new_line(page->out, pretty, 1);
    mr_buf_cstr(page->out, pretty ? "\"results\": [" : "\"results\":[");
}

static void json_end(struct randomuser_page *page)
{
    struct mr_buf *out = page->out;
    bool pretty = page->format == RANDOMUSER_PRETTY;
    const char *blank = pretty ? " " : "";
    new_line(out, pretty, 1);
    mr_buf_u8(out, ']');
    if (page->info) {
        mr_buf_u8(out, ',');
        new_line(out, pretty, 1);
        mr_buf_printf(out, "\"info\":%s{", blank);
        new_line(out, pretty, 2);
        mr_buf_printf(out, "\"seed\":%s", blank);
        mr_buf_json(out, page->seed);
        mr_buf_u8(out, ',');
        new_line(out, pretty, 2);
        mr_buf_printf(out, "\"results\":%s%llu,", blank, (unsigned long long)page->results);
        new_line(out, pretty, 2);
        mr_buf_printf(out, "\"page\":%s%llu,", blank, (unsigned long long)page->page);
        new_line(out, pretty, 2);
        mr_buf_printf(out, "\"version\":%s\"1.4\"", blank);
        new_line(out, pretty, 1);
        mr_buf_u8(out, '}');
    }
    new_line(out, pretty, 0);
    mr_buf_u8(out, '}');
    if (page->callback.data != NULL)
        mr_buf_cstr(out, ");");
}

/* ---- CSV (RFC 4180), names flattened with dots ---- */
static void csv_text(struct mr_buf *out, mr_str text)
{
    bool quoted = false;
    for (size_t i = 0; i < text.length && !quoted; i++)
        quoted = strchr(",\"\r\n", text.data[i]) != NULL;
    if (!quoted) {
        mr_buf_str(out, text);
        return;
    }
    mr_buf_u8(out, '"');
    for (size_t i = 0; i < text.length; i++) {
        if (text.data[i] == '"')
            mr_buf_u8(out, '"');
        mr_buf_u8(out, (uint8_t)text.data[i]);
    }
    mr_buf_u8(out, '"');
}

static void csv_begin(struct randomuser_page *page)
{
    const char *path[DEPTH_MAX];
    int depth = 0;
    bool first = true;
    for (size_t i = 0; i < mr_count_of(fields); i++) {
        const struct field *field = &fields[i];
        if ((page->groups & field->group) == 0)
            continue;
        if (field->kind == OPEN) {
            path[depth++] = field->name;
            continue;
        }
        if (field->kind == CLOSE) {
            depth--;
            continue;
        }
        if (!first)
            mr_buf_u8(page->out, ',');
        first = false;
        for (int j = 0; j < depth; j++)
            mr_buf_printf(page->out, "%s.", path[j]);
        mr_buf_cstr(page->out, field->name);
    }
}

static void csv_user(struct randomuser_page *page, const struct randomuser_user *user)
{
    bool first = true;
    mr_buf_u8(page->out, '\n');
    for (size_t i = 0; i < mr_count_of(fields); i++) {
        const struct field *field = &fields[i];
        if ((page->groups & field->group) == 0 || field->kind == OPEN || field->kind == CLOSE)
            continue;
        if (!first)
            mr_buf_u8(page->out, ',');
        first = false;
        if (field->kind == NUMBER)
            put_number(page->out, number_of(user, field));
        else
            csv_text(page->out, text_of(user, field));
    }
}

/* ---- YAML: texts always in double quotes, so that no NO is a false ---- */
static void yaml_user(struct randomuser_page *page, const struct randomuser_user *user)
{
    struct mr_buf *out = page->out;
    int depth = 2;
    bool first = true;
    for (size_t i = 0; i < mr_count_of(fields); i++) {
        const struct field *field = &fields[i];
        if ((page->groups & field->group) == 0)
            continue;
        if (field->kind == CLOSE) {
            depth--;
            continue;
        }
        if (first)
            mr_buf_cstr(out, "  - ");
        for (int j = 0; j < depth && !first; j++)
            mr_buf_cstr(out, "  ");
        first = false;
        mr_buf_printf(out, "%s:", field->name);
        if (field->kind == OPEN) {
            depth++;
        } else {
            mr_buf_u8(out, ' ');
            put_leaf(out, user, field);
        }
        mr_buf_u8(out, '\n');
    }
    if (first)
        mr_buf_cstr(out, "  - {}\n");
}

static void yaml_end(struct randomuser_page *page)
{
    if (!page->info)
        return;
    mr_buf_cstr(page->out, "info:\n  seed: ");
    mr_buf_json(page->out, page->seed);
    mr_buf_printf(page->out, "\n  results: %llu\n  page: %llu\n  version: \"1.4\"\n",
                  (unsigned long long)page->results, (unsigned long long)page->page);
}

/* ---- XML ---- */
static void xml_text(struct mr_buf *out, mr_str text)
{
    for (size_t i = 0; i < text.length; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '<')
            mr_buf_cstr(out, "&lt;");
        else if (c == '>')
            mr_buf_cstr(out, "&gt;");
        else if (c == '&')
            mr_buf_cstr(out, "&amp;");
        else if (c >= ' ' || c == '\t' || c == '\n')
            mr_buf_u8(out, c);
    }
}

static void xml_user(struct randomuser_page *page, const struct randomuser_user *user)
{
    struct mr_buf *out = page->out;
    mr_buf_cstr(out, "<results>");
    for (size_t i = 0; i < mr_count_of(fields); i++) {
        const struct field *field = &fields[i];
        if ((page->groups & field->group) == 0)
            continue;
        mr_buf_printf(out, field->kind == CLOSE ? "</%s>" : "<%s>", field->name);
        if (field->kind == OPEN || field->kind == CLOSE)
            continue;
        if (field->kind == NUMBER)
            put_number(out, number_of(user, field));
        else
            xml_text(out, text_of(user, field));
        mr_buf_printf(out, "</%s>", field->name);
    }
    mr_buf_cstr(out, "</results>");
}

static void xml_end(struct randomuser_page *page)
{
    if (page->info) {
        mr_buf_cstr(page->out, "<info><seed>");
        xml_text(page->out, page->seed);
        mr_buf_printf(page->out,
                      "</seed><results>%llu</results><page>%llu</page><version>1.4"
                      "</version></info>",
                      (unsigned long long)page->results, (unsigned long long)page->page);
    }
    mr_buf_cstr(page->out, "</user>");
}

/* ---- by format ---- */
void randomuser_print_begin(struct randomuser_page *page)
{
    switch (page->format) {
    case RANDOMUSER_JSON:
    case RANDOMUSER_PRETTY:
        json_begin(page);
        break;
    case RANDOMUSER_CSV:
        csv_begin(page);
        break;
    case RANDOMUSER_YAML:
        mr_buf_cstr(page->out, "results:\n");
        break;
    case RANDOMUSER_XML:
        mr_buf_cstr(page->out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<user>");
        break;
    }
}

void randomuser_print_user(struct randomuser_page *page, const struct randomuser_user *user)
{
    switch (page->format) {
    case RANDOMUSER_JSON:
    case RANDOMUSER_PRETTY:
        json_user(page, user);
        break;
    case RANDOMUSER_CSV:
        csv_user(page, user);
        break;
    case RANDOMUSER_YAML:
        yaml_user(page, user);
        break;
    case RANDOMUSER_XML:
        xml_user(page, user);
        break;
    }
}

void randomuser_print_end(struct randomuser_page *page)
{
    switch (page->format) {
    case RANDOMUSER_JSON:
    case RANDOMUSER_PRETTY:
        json_end(page);
        break;
    case RANDOMUSER_CSV:
        mr_buf_u8(page->out, '\n');
        break;
    case RANDOMUSER_YAML:
        yaml_end(page);
        break;
    case RANDOMUSER_XML:
        xml_end(page);
        break;
    }
}
