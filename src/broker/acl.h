/* broker/acl.h: access rules by Kafka's standard model, and the rights that follow from them.
 * Thread: the loop's. */
#ifndef BROKER_ACL_H
#define BROKER_ACL_H

#include "kafka/acl.h"

struct broker_request;
struct broker_security;
struct json_value;

/* One rule; its texts are its own. */
struct broker_acl {
    int8_t resource, pattern, operation, permission;
    mr_str name, principal, host;
};
/* The rules [from, to) of one name. */
struct broker_acl_run {
    mr_str name; /* theirs */
    size_t from, to;
    size_t
        outer; /* of a prefix: the longest other one that it begins with, as a run + 1; 0: none */
};
struct broker_acl_range { /* half open */
    size_t from, to;
};
struct broker_acls {
    bool enabled; /* else everybody may everything, and the rules cannot be told or changed */
    bool allow_everyone; /* where no rule is about a resource */
    MR_ARRAY(char *) super_users;
    MR_ARRAY(struct broker_acl) rules; /* by resource, pattern, name, principal */
    /* of the rules, made anew at the first question after a change */
    bool indexed;
    MR_ARRAY(struct broker_acl_run) runs;
    struct mr_map literals[KAFKA_ACL_USER + 1];           /* by resource: name to its run */
    struct broker_acl_range prefixes[KAFKA_ACL_USER + 1]; /* by resource: the runs of prefixes */
};
void broker_acl_fini(struct broker_acls *acls);
/* Super users: "User:ann;User:CN=log,O=Stories". Errors: MR_INVALID. */
mr_err broker_acl_supers(struct broker_acls *acls, mr_str list);
/* Rows of the security file. */
void broker_acl_print(const struct broker_acls *acls, struct mr_buf *out);
mr_err broker_acl_read(struct broker_acls *acls, const struct json_value *row);
/* Whether the principal may, from that address. */
bool broker_acl_allows(struct broker_acls *acls, const char *principal, const char *host,
                       int8_t operation, int8_t resource, mr_str name);
/* Whether there is any resource of the kind on which it may. */
bool broker_acl_allows_any(struct broker_acls *acls, const char *principal, const char *host,
                           int8_t operation, int8_t resource);
/* rights.c: rights of a request's client. */
bool broker_rights_allow(const struct broker_request *request, int8_t operation, int8_t resource,
                         mr_str name);
/* Tells of a lack of right (broker_server_refused) and gives its code. */
int16_t broker_rights_refuse(const struct broker_request *request, int8_t operation,
                             int8_t resource, mr_str name);
/* Whether a topic may be made and told of. */
bool broker_rights_may_make(const struct broker_request *request, mr_str topic);
/* Before the handler: takes out of the request what its client may not do. False: it is answered. */
bool broker_rights_admit(struct broker_request *request);
/* Before the answer goes: adds what was taken out, with its code. */
void broker_rights_answer(struct broker_request *request);

/* sight.c: before the answer goes: hides what the client may not see, and tells its rights. */
void broker_sight_answer(struct broker_request *request);

#endif
