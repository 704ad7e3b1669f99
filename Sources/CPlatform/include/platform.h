#pragma once

// The few system calls that the C library shows to C only.

/// Exchanges two names of one file system in one step; 0, or -1 with errno.
int es_exchange_names(const char *a, const char *b);

/// Processors this process may run on, or 0 if the system does not tell.
int es_allowed_processors(void);

/// Makes large blocks of memory go back to the system when they are freed; with other C libraries than glibc, nothing.
void es_return_freed_memory(void);

/// Makes standard output pass on every line as it ends, whatever it is connected to.
void es_buffer_output_by_lines(void);
