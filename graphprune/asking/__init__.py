"""What a user asks for: checked before any work, recorded in a plan, written as TOML."""
