/* postgres/cluster.h: private: the programs, the user they run as, and how a cluster is made. */
#ifndef POSTGRES_CLUSTER_H
#define POSTGRES_CLUSTER_H

#include <sys/types.h>

#include "postgres/postgres.h"

/* Whom PostgreSQL runs as: ourselves, or the user `postgres` when we are root. */
struct postgres_user {
    bool change; /* we are root: the child has to become this user */
    uid_t uid;
    gid_t gid;
    gid_t groups[32];
    int group_count;
    char name[64];
};
struct postgres_cluster {
    struct mr_arena arena;     /* owns every text here */
    const char *programs;      /* folder of initdb and postgres */
    const char *home;          /* DIR */
    const char *data;          /* DIR/postgres */
    const char *password_path; /* DIR/postgres.password */
    const char *log_path;      /* DIR/postgres.log */
    mr_str password;
    struct postgres_user user;
};

/* Finds programs and user, checks the folders, makes the cluster when there is none, writes our
 * settings. Nothing runs afterwards. Owner: the caller, until postgres_cluster_fini(). */
mr_err postgres_cluster_init(struct postgres_cluster *cluster, const char *home,
                             const char *programs);
void postgres_cluster_fini(struct postgres_cluster *cluster);

/* Runs a program as the cluster's user in a session of its own, in folder `/`, with `input` (-1:
 * none) as its standard input and the log as its output. */
mr_err postgres_cluster_spawn(const struct postgres_cluster *cluster, char *const *argv, int input,
                              pid_t *pid);
/* Bytes of the log file now, and the last lines behind an earlier size, on one line. */
int64_t postgres_cluster_log_bytes(const struct postgres_cluster *cluster);
mr_str postgres_cluster_log_tail(struct postgres_cluster *cluster, int64_t from);

#endif
