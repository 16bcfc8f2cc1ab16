"""The words of the method: rankings, agreement, demonstrations, prompts. Standard library only."""
