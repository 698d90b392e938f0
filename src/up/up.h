/* up/up.h: the commands that start servers and stages. Each takes its arguments without the command's
 * own word and returns the exit status of the program: 0 all is well, 1 trouble on the way (a port, a
 * disk, a folder, a server), 2 a wrong command line or a wrong pipeline file, 3 tests that fail. */
#ifndef UP_UP_H
#define UP_UP_H

#define COMMAND(word, function, arguments, about) int function(int argc, char **argv);
#include "up/commands.def"

#endif
