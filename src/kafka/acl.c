/* kafka/acl.c: the words of access rules and their numbers. */
#include "kafka/acl.h"

static const struct {
    enum kafka_acl_kind kind;
    int8_t number;
    const char *name;
} words[] = {
#define OPERATION(number, name) {KAFKA_ACL_KIND_OPERATION, number, #name},
#define RESOURCE(number, name, code, operations) {KAFKA_ACL_KIND_RESOURCE, number, #name},
#define PATTERN(number, name) {KAFKA_ACL_KIND_PATTERN, number, #name},
#define PERMISSION(number, name) {KAFKA_ACL_KIND_PERMISSION, number, #name},
#include "kafka/acls.def"
};

const char *kafka_acl_word(enum kafka_acl_kind kind, int8_t number)
{
    for (size_t i = 0; i < mr_count_of(words); i++)
        if (words[i].kind == kind && words[i].number == number)
            return words[i].name;
    return "UNKNOWN";
}

static char upper(char letter)
{
    return letter >= 'a' && letter <= 'z' ? (char)(letter - 'a' + 'A') : letter;
}

static bool is_word(const char *name, mr_str said)
{
    size_t at = 0;

    for (; *name != '\0'; name++) {
        if (at < said.length && upper(said.data[at]) == *name)
            at++;
        else if (*name != '_')
            return false;
    }
    return at == said.length && at > 0;
}

int8_t kafka_acl_number(enum kafka_acl_kind kind, mr_str word)
{
    for (size_t i = 0; i < mr_count_of(words); i++)
        if (words[i].kind == kind && is_word(words[i].name, word))
            return words[i].number;
    return 0;
}

#define BIT(name) (1 << KAFKA_ACL_OP_##name)
int32_t kafka_acl_operations(int8_t resource)
{
    static const int32_t operations[] = {
#define RESOURCE(number, name, code, operations) [number] = (operations),
#include "kafka/acls.def"
    };
    return operations[resource];
}

bool kafka_acl_is_principal(mr_str text)
{
    ptrdiff_t colon = mr_str_find_byte(text, ':');

    return colon > 0 && (size_t)colon + 1 < text.length && mr_str_is_utf8(text);
}
