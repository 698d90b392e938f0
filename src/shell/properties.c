/* shell/properties.c: Kafka's client properties, as far as they say how to come in. Files of Java's own kinds
 * (JKS, PKCS12) are refused with what to do, since only Java reads them. */
#include "shell/room.h"

#include <string.h>

struct property {
    mr_str key, value;
};
struct properties {
    const char *path;
    MR_ARRAY(struct property) list;
};

/* "key = value", "key: value"; `#` and `!` begin comments. Values keep what is inside of them. */
static void read_lines(struct properties *properties, mr_str text)
{
    mr_str line;
    while (mr_str_split(&text, '\n', &line)) {
        size_t end = 0;
        line = mr_str_trim(line);
        if (line.length == 0 || line.data[0] == '#' || line.data[0] == '!')
            continue;
        while (end < line.length && line.data[end] != '=' && line.data[end] != ':')
            end++;
        *mr_array_add(&properties->list) = (struct property){
            mr_str_trim(mr_str_slice(line, 0, end)),
            mr_str_trim(mr_str_slice(line, end + 1, line.length))};
    }
}

static mr_str find(const struct properties *properties, const char *key)
{
    mr_str found = MR_STR_NULL;
    for (size_t i = 0; i < properties->list.count; i++)
        if (mr_str_equal(properties->list.items[i].key, mr_str_from(key)))
            found = properties->list.items[i].value;
    return found;
}

/* `name="value"` inside of a JAAS line. */
static mr_str jaas_value(mr_str line, const char *name)
{
    size_t length = strlen(name);
    for (size_t at = 0; at + length + 1 < line.length; at++) {
        bool begins = at == 0 || line.data[at - 1] == ' ' || line.data[at - 1] == '\t';
        if (!begins || memcmp(line.data + at, name, length) != 0 || line.data[at + length] != '=')
            continue;
        mr_str rest = mr_str_slice(line, at + length + 1, line.length);
        char quote = rest.length > 0 ? rest.data[0] : ' ';
        bool quoted = quote == '"' || quote == '\'';
        rest = quoted ? mr_str_slice(rest, 1, rest.length) : rest;
        size_t end = 0;
        while (end < rest.length &&
               (quoted ? rest.data[end] != quote : rest.data[end] != ' ' && rest.data[end] != ';'))
            end++;
        return mr_str_slice(rest, 0, end);
    }
    return MR_STR_NULL;
}

static mr_err read_tls(struct mr_arena *arena, const struct properties *properties,
                       struct kafka_security *out)
{
    static const char *const kinds[] = {"ssl.truststore.type", "ssl.keystore.type"};
    static const char *const places[] = {"ssl.truststore.location", "ssl.keystore.location"};
    for (size_t i = 0; i < mr_count_of(kinds); i++)
        if (find(properties, places[i]).length > 0 &&
            !mr_str_equal_nocase(find(properties, kinds[i]), MR_STR("PEM")))
            return mr_fail(MR_UNSUPPORTED, "%s: %s is not PEM; convert it, and say %s=PEM",
                           properties->path, places[i], kinds[i]);
    if (find(properties, "ssl.key.password").length > 0)
        return mr_fail(MR_UNSUPPORTED, "%s: a key under a password (ssl.key.password) is not read",
                       properties->path);
    out->tls = true;
    out->files.ca = mr_arena_str(arena, find(properties, "ssl.truststore.location"));
    out->files.certificate = mr_arena_str(arena, find(properties, "ssl.keystore.location"));
    out->files.key = out->files.certificate;
    return MR_OK;
}

static mr_err read_sasl(struct mr_arena *arena, const struct properties *properties,
                        struct kafka_security *out)
{
    mr_str jaas = find(properties, "sasl.jaas.config");
    mr_str mechanism = find(properties, "sasl.mechanism");
    out->mechanism = mr_arena_str(arena, mechanism);
    out->user = mr_arena_str(arena, jaas_value(jaas, "username"));
    out->password = mr_arena_str(arena, jaas_value(jaas, "password"));
    if (mechanism.length == 0)
        return mr_fail(MR_INVALID, "%s: sasl.mechanism is missing", properties->path);
    if (out->user.length == 0)
        return mr_fail(MR_INVALID,
                       "%s: sasl.jaas.config has no username; expected ... required "
                       "username=\"NAME\" password=\"TEXT\";",
                       properties->path);
    return MR_OK;
}

mr_err shell_properties_read(struct mr_arena *arena, const char *path, mr_str text,
                             struct kafka_security *out)
{
    struct properties properties = {.path = path};
    *out = (struct kafka_security){0};
    read_lines(&properties, text);
    mr_str protocol = find(&properties, "security.protocol");
    bool plain = protocol.length == 0 || mr_str_equal_nocase(protocol, MR_STR("PLAINTEXT"));
    bool tls = mr_str_equal_nocase(protocol, MR_STR("SSL")) ||
               mr_str_equal_nocase(protocol, MR_STR("SASL_SSL"));
    bool sasl = mr_str_equal_nocase(protocol, MR_STR("SASL_PLAINTEXT")) ||
                mr_str_equal_nocase(protocol, MR_STR("SASL_SSL"));
    mr_err err = plain || tls || sasl
                     ? MR_OK
                     : mr_fail(MR_INVALID,
                               "%s: security.protocol=%.*s; expected PLAINTEXT, SSL, "
                               "SASL_PLAINTEXT or SASL_SSL",
                               path, MR_STR_ARG(protocol));
    if (err == MR_OK && tls)
        err = read_tls(arena, &properties, out);
    if (err == MR_OK && sasl)
        err = read_sasl(arena, &properties, out);
    mr_array_fini(&properties.list);
    return err;
}

mr_err shell_properties(struct shell *shell, const char *path, struct kafka_security *out)
{
    struct mr_buf text = {0};
    mr_err err = mr_file_read(path, 1 << 20, &text);
    if (err == MR_OK)
        err = shell_properties_read(&shell->arena, path, mr_buf_as_str(&text), out);
    mr_buf_fini(&text);
    return err;
}
