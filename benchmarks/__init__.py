"""Claims about speed, memory and false alarms, each measured by a command."""
