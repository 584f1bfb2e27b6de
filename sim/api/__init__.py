"""PAY PER TOKEN: what a provider promises (`provider`), and that provider at work in one run (`server`)."""
