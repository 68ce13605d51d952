"""What the engine knows of links and mirror topics: data, states, rules. No I/O."""
