/* A shared object that is no plugin: refused (exit code 69, PROTOCOL §11.1). */
int no_symbol_of_interest(void);

__attribute__((visibility("default"))) int no_symbol_of_interest(void) {
    return 42;
}
