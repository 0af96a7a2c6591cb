"""Tests on public collections of kernel logs, which are read where they lie and not kept here."""
