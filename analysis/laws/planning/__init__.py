"""Which runs to make next, and which running ones to stop: a posterior of the law, designs, and their value for a decision."""
