"""What an inspection of listed images writes into its folder."""
