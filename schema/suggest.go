package schema

import (
	"fmt"
	"slices"
	"strings"
)

// DidYouMean is the second half of a message about a name that is not known:
// "; did you mean NAME?", or nothing if none is near.
func DidYouMean(name string, known []string) string { return didYouMean(name, known) }

// didYouMean is the second half of a message about an unknown word: the
// nearest of the known ones, or nothing if none is near.
func didYouMean(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return ""
}

// nearest returns the known word with the smallest edit distance, if it is at
// most a third of the word's length (at least one). Equal distances are
// decided by the alphabet.
func nearest(word string, known []string) string {
	limit := max(1, len([]rune(word))/3)
	best, bestDistance := "", limit+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		d := editDistance(strings.ToLower(word), strings.ToLower(k))
		if k != word && d < bestDistance {
			best, bestDistance = k, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours between two words (optimal string alignment).
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	before, above, row := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(x); i++ {
		row[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(y)]
}
