// Package tokenizers turns decoded values into tokens, the rows that the
// trunk reads. It has two halves:
//
//   - the half without weights runs beside the decoder, on any goroutine:
//     pixels into patches, sound into log-mel patches (tokenizers/logmel),
//     text into subword ids (tokenizers/subword). Its result is Tokens.
//   - the half with weights runs on the tape: Stem projects patches or looks
//     up ids, and adds positions.
//
// A modality states by its Layout which of the two kinds of stem it needs.
//
// Stems other than the linear map are of some modalities alone: convolutions of
// pictures, convolutions and recurrence of sequences. A Branch is a second stem
// whose rows enter the trunk at later blocks.
package tokenizers

// Tokens is one sample of one modality before any weight has touched it:
// either patches or ids, never both.
type Tokens struct {
	// IDs holds subword ids [n]; nil for patches.
	IDs []int32
	// Patches holds one flattened patch a row, [n, P] row-major; nil for ids.
	Patches []float32
	// Grid is the arrangement of the n tokens, row-major: n = Grid[0]*Grid[1].
	// A sequence has one row.
	Grid [2]int
	// Cut counts the tokens that did not fit and were left out.
	Cut int
}

// Len returns the number of tokens.
func (t Tokens) Len() int { return t.Grid[0] * t.Grid[1] }

// Layout says what kind of tokens a configured modality makes, and so what
// stem it needs.
type Layout struct {
	// Patch is the number of values in a patch, P; 0 for ids.
	Patch int
	// Planes says that patches are square pieces [C, side, side] of a picture of
	// C planes which they cover side by side; 0 where they are something else.
	Planes int
	// Vocab is the number of different ids; 0 for patches.
	Vocab int
	// Grid is the size of the table of learned positions.
	Grid [2]int
	// Stretch says how a sample of another grid reads the table: true
	// interpolates it to the sample's grid (images), false takes its first
	// rows and columns, so that a short sequence uses a prefix (audio, text).
	Stretch bool
}
