/* kafka/messages.c: the rows of messages.def as shapes, for every walker. (`bool` is a macro: a row
 * pastes the name of its type itself, before another macro expands it.) */
#include "kafka/messages.h"

#define STRUCT(name)                                    \
    const struct wire_shape *kafka_##name##_shape(void) \
    {                                                   \
        typedef struct kafka_##name self;               \
        static const struct wire_field fields[] = {
#define ROW(type, name, since, until, tag, value, item, row, about) \
    {#name, type, offsetof(self, name), since, until, tag, value, item, row, about},
#define FIELD(type, name, since, until, about) \
    ROW(&wire_type_##type, name, since, until, WIRE_UNTAGGED, 0, NULL, NULL, about)
#define DEFAULT(type, name, since, until, value, about) \
    ROW(&wire_type_##type, name, since, until, WIRE_UNTAGGED, value, NULL, NULL, about)
#define LIST(type, name, since, until, about) \
    ROW(&wire_type_list, name, since, until, WIRE_UNTAGGED, 0, &wire_type_##type, NULL, about)
#define NLIST(type, name, since, until, about) \
    ROW(&wire_type_nlist, name, since, until, WIRE_UNTAGGED, 0, &wire_type_##type, NULL, about)
#define ARRAY(row, name, since, until, about) \
    ROW(&wire_type_array, name, since, until, WIRE_UNTAGGED, 0, NULL, kafka_##row##_shape, about)
#define NARRAY(row, name, since, until, about) \
    ROW(&wire_type_narray, name, since, until, WIRE_UNTAGGED, 0, NULL, kafka_##row##_shape, about)
#define STRUCT_FIELD(row, name, since, until, about) \
    ROW(&wire_type_struct, name, since, until, WIRE_UNTAGGED, 0, NULL, kafka_##row##_shape, about)
#define NSTRUCT(row, name, since, until, about) \
    ROW(&wire_type_nstruct, name, since, until, WIRE_UNTAGGED, 0, NULL, kafka_##row##_shape, about)
#define TAGGED(type, name, tag, since, about) \
    ROW(&wire_type_##type, name, since, WIRE_ANY, tag, 0, NULL, NULL, about)
#define TAGGED_DEFAULT(type, name, tag, since, value, about) \
    ROW(&wire_type_##type, name, since, WIRE_ANY, tag, value, NULL, NULL, about)
#define TAGGED_ARRAY(row, name, tag, since, about) \
    ROW(&wire_type_array, name, since, WIRE_ANY, tag, 0, NULL, kafka_##row##_shape, about)
#define TAGGED_STRUCT(row, name, tag, since, about) \
    ROW(&wire_type_struct, name, since, WIRE_ANY, tag, 0, NULL, kafka_##row##_shape, about)
#define TAGGED_NSTRUCT(row, name, tag, since, about) \
    ROW(&wire_type_nstruct, name, since, WIRE_ANY, tag, 0, NULL, kafka_##row##_shape, about)
#define END(name)                                                         \
    {0},                                                                  \
    }                                                                     \
    ;                                                                     \
    static const struct wire_shape shape = {#name, sizeof(self), fields}; \
    return &shape;                                                        \
    }
#include "kafka/messages.def"
#undef ROW
