"""Every operation beside its oracle, beside a plain copy, and beside what compilers make of it."""
