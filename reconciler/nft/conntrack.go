package nft

import (
	"context"

	"github.com/poplin-net/poplin/reconciler"
)

func (t *Target) purge(ctx context.Context, plan reconciler.Plan, before, desired reconciler.State) {}
