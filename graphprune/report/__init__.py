"""What people and programs read: tables for the terminal and the same facts as plain dictionaries."""
