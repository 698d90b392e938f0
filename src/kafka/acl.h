/* kafka/acl.h: the words of access rules (KIP-11, KIP-290), for those who keep rules and those who ask
 * for them. Thread: any. */
#ifndef KAFKA_ACL_H
#define KAFKA_ACL_H

#include "base/base.h"

enum {
#define OPERATION(number, name) KAFKA_ACL_OP_##name = (number),
#define RESOURCE(number, name, code, operations) KAFKA_ACL_##name = (number),
#define PATTERN(number, name) KAFKA_ACL_PATTERN_##name = (number),
#define PERMISSION(number, name) KAFKA_ACL_PERMISSION_##name = (number),
#include "kafka/acls.def"
};
#define KAFKA_ACL_CLUSTER_NAME MR_STR("kafka-cluster")

enum kafka_acl_kind {
    KAFKA_ACL_KIND_OPERATION,
    KAFKA_ACL_KIND_RESOURCE,
    KAFKA_ACL_KIND_PATTERN,
    KAFKA_ACL_KIND_PERMISSION,
};
const char *kafka_acl_word(enum kafka_acl_kind kind,
                           int8_t number); /* "UNKNOWN" for a strange one */
/* Letters of either case, with or without `_`: IDEMPOTENT_WRITE, IdempotentWrite. 0: no such word. */
int8_t kafka_acl_number(enum kafka_acl_kind kind, mr_str word);
/* Operations that make sense on a kind of resource, as bits; All is not among them. */
int32_t kafka_acl_operations(int8_t resource);
/* "Type:name", both there. */
bool kafka_acl_is_principal(mr_str text);

#endif
