/* up/folder.c: commands for a data folder that no server uses at the moment. */
#include "broker/broker.h"
#include "up/options.h"
#include "up/up.h"

#include <stdio.h>
#include <string.h>

static int trouble(const char *command)
{
    fprintf(stderr, "millrace %s: %s\n", command, mr_why());
    return 1;
}

int up_command_verify(int argc, char **argv)
{
    struct up_options options;
    struct broker_check check;
    struct mr_buf text = {0};
    struct mr_arena arena;
    const char *folder;
    int status = up_options_read("verify", argc, argv, &options);

    if (status >= 0)
        return status;
    if (options.file_count != 1 || strcmp(options.files[0], "broker") != 0) {
        fprintf(stderr, "millrace verify: expected what to read: `broker`\n");
        return 2;
    }
    mr_arena_init(&arena);
    options.only_reads = true;
    if (up_options_folder(&options, &arena, &folder) != MR_OK)
        return trouble("verify");
    if (broker_verify(mr_arena_printf(&arena, "%s/broker", folder), &text, &check) != MR_OK)
        return trouble("verify");
    if (text.length > 0)
        fwrite(text.data, 1, text.length, stdout);
    printf("%zu partitions, %zu segments, %lld batches, %lld bytes: %zu faults, %zu notes\n",
           check.partitions, check.segments, (long long)check.batches, (long long)check.bytes,
           check.faults, check.notes);
    mr_buf_fini(&text);
    mr_arena_fini(&arena);
    return check.faults == 0 ? 0 : 1;
}
