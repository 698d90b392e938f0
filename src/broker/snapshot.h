/* broker/snapshot.h: one consistent moment of a broker that runs, for whoever copies it (backup.c). Asked for by a
 * socket in the broker's folder, and kept until that connection ends:
 *
 *   "snapshot 1"  ->  "ready", or "error" and a sentence
 *   "on"              while copying goes on
 *                 ->  "error" and a sentence: the moment is given up
 *
 * It is given up when the disk is short of room and the moment keeps what was removed since it began, and when nothing
 * was heard for ten minutes.
 *
 * The folder `snapshot` beside it then has numbered files (second names of segments and indexes), the file `printed`
 * (all that was printed: catalog, checkpoints ...), and the file `list` that tells what they are.  Thread: the loop's. */
#ifndef BROKER_SNAPSHOT_H
#define BROKER_SNAPSHOT_H

#include "base/base.h"
#include "net/net.h"

#define BROKER_SNAPSHOT_SOCKET "control"
#define BROKER_SNAPSHOT_FOLDER "snapshot"

struct broker_server;
struct broker_snapshot;
struct broker_snapshots {
    struct broker_server *server;
    struct net_listener *listener;   /* NULL: the file system has no sockets */
    struct broker_snapshot *current; /* NULL: none */
    struct net_conn *next;           /* asks for one while the last is on its way out, or NULL */
    struct mr_timer patience;        /* of `next` */
    uint64_t run;                    /* tells this run of the broker from those before and after */
    int64_t serials;                 /* given in this run */
};
/* Without a socket the broker runs all the same. */
void broker_snapshots_open(struct broker_snapshots *snapshots, struct broker_server *server);
/* Removes what a killed run left. */
void broker_snapshots_begin(struct broker_snapshots *snapshots);
/* Takes no more; the one under way ends soon. */
void broker_snapshots_close(struct broker_snapshots *snapshots);
static inline bool broker_snapshots_busy(const struct broker_snapshots *snapshots)
{
    return snapshots->current != NULL;
}

#endif
