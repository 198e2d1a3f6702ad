"""Forward passes of models called directly, beside other runtimes."""
