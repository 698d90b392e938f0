/* shell/shell.h: the commands that are clients of a log. Each takes its arguments without the command's own word and
 * returns the exit status of the program: 0 done, 1 the log refused or is away, 2 a wrong command line. */
#ifndef SHELL_SHELL_H
#define SHELL_SHELL_H

#include "base/base.h"

#define COMMAND(word, function, arguments, about) int function(int argc, char **argv);
#include "shell/commands.def"

/* The lines of the help about these commands: all (NULL), or one with its options. False: no command of this room. */
bool shell_help(const char *command, struct mr_buf *out);

#endif
