/* fuzz/pipeline.c: a pipeline file from a stranger: read, checked, its mistakes printed. */
#include "pipeline/pipeline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mr_arena arena;
    struct pipeline_mistakes mistakes = {0};
    struct pipeline *pipeline = NULL;
    struct pipeline_plan *plan = NULL;
    struct mr_buf out = {0};
    if (size > 65536)
        return 0;
    mr_arena_init(&arena);
    pipeline_parse(&arena, mr_str_of(data, size), &pipeline, &mistakes);
    if (pipeline != NULL)
        pipeline_check(&arena, pipeline, NULL, 0, &mistakes, &plan);
    pipeline_mistakes_print(&mistakes, "fuzz.yaml", &out);
    mr_buf_fini(&out);
    pipeline_mistakes_fini(&mistakes);
    mr_arena_fini(&arena);
    return 0;
}
