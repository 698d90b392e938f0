/* main.c: the table of commands and nothing else. */
#include "shell/shell.h"
#include "up/up.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *word;
    int (*run)(int argc, char **argv);
} commands[] = {
#define COMMAND(word, function, arguments, about) {word, function},
#include "up/commands.def"
#define COMMAND(word, function, arguments, about) {word, function},
#include "shell/commands.def"
};

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "help";
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        word = "help";
    if (strcmp(word, "--version") == 0)
        word = "version";
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(word, commands[i].word) == 0)
            return commands[i].run(argc > 2 ? argc - 2 : 0, argv + 2);
    fprintf(stderr, "millrace: there is no command `%s`; `millrace help` lists them\n", word);
    return 2;
}
