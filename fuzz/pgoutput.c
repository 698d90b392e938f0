/* fuzz/pgoutput.c: messages of logical replication, as frames and as the plugin's own. */
#include "capture/pgoutput.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mr_arena arena;
    struct capture_frame frame;
    struct capture_message message;
    mr_arena_init(&arena);
    if (capture_pgoutput_frame(mr_str_of(data, size), &frame) == MR_OK && frame.kind == 'w')
        (void)capture_pgoutput_read(frame.payload, &arena, &message);
    (void)capture_pgoutput_read(mr_str_of(data, size), &arena, &message);
    mr_arena_fini(&arena);
    return 0;
}
