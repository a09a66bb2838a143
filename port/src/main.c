/* stevedore: see proto/PROTOCOL.md for what it says, docs/architecture.md for how it works, cli.c for what it
 * is called with. */
#include "cli.h"

int main(int argc, char **argv) {
    return cli_main(argc, argv);
}
