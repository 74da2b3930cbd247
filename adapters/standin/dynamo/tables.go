package dynamo

import (
	"maps"
	"slices"
)

type keyElement struct{ AttributeName, KeyType string }

type tableRequest struct {
	TableName             string
	KeySchema             []keyElement
	LocalSecondaryIndexes []struct {
		IndexName string
		KeySchema []keyElement
	}
	TimeToLiveSpecification struct{ AttributeName string }
}

func (s *Server) createTable(in *tableRequest) (any, error) {
	if s.tables[in.TableName] != nil {
		return nil, refused("ResourceInUseException", "Cannot create preexisting table")
	}
	if len(in.TableName) < 3 || len(in.KeySchema) != 2 || in.KeySchema[0].KeyType != "HASH" {
		return nil, invalid("table %q: this stand-in knows those with a partition and a sort key", in.TableName)
	}
	t := &table{hash: in.KeySchema[0].AttributeName, sort: in.KeySchema[1].AttributeName, indexes: map[string]string{}, partitions: map[string]*partition{}}
	for _, index := range in.LocalSecondaryIndexes {
		if len(index.KeySchema) != 2 || index.KeySchema[0].AttributeName != t.hash {
			return nil, invalid("index %q: expected the table's partition key and another sort key", index.IndexName)
		}
		t.indexes[index.IndexName] = index.KeySchema[1].AttributeName
	}
	s.tables[in.TableName] = t
	return map[string]any{"TableDescription": described(in.TableName)}, nil
}

func described(name string) map[string]any {
	return map[string]any{"TableName": name, "TableStatus": "ACTIVE"}
}

func (s *Server) describe(operation string, in *tableRequest) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	switch operation {
	case "UpdateTimeToLive":
		t.ttl = in.TimeToLiveSpecification.AttributeName
		return map[string]any{"TimeToLiveSpecification": map[string]any{"AttributeName": t.ttl, "Enabled": true}}, nil
	case "DescribeTimeToLive":
		status := "DISABLED"
		if t.ttl != "" {
			status = "ENABLED"
		}
		return map[string]any{"TimeToLiveDescription": map[string]any{"AttributeName": t.ttl, "TimeToLiveStatus": status}}, nil
	}
	return map[string]any{"Table": described(in.TableName)}, nil
}

// scan gives out the whole table at once.
func (s *Server) scan(in *tableRequest) (any, error) {
	t, err := s.table(in.TableName)
	if err != nil {
		return nil, err
	}
	out := []item{}
	for _, hash := range slices.Sorted(maps.Keys(t.partitions)) {
		p := t.partitions[hash]
		for _, sort := range p.order {
			out = append(out, p.items[sort])
		}
	}
	return map[string]any{"Items": out, "Count": len(out)}, nil
}
