import EspalierBasics
import EspalierTokenizers
import Foundation

/// The bytes of a file under `Fixtures`.
func fixture(_ name: String, file: String = #filePath) throws -> [UInt8] {
  let folder = URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent("Fixtures")
  return Array(try Data(contentsOf: folder.appendingPathComponent(name)))
}

/// A `tokenizer.json` of a WordLevel model: tokens with ids, then added tokens with ids.
func wordLevel(_ tokens: [(String, Int)], added: [AddedToken] = []) -> JSON {
  let entries = added.map { token in
    JSON.object([
      ("id", .number(token.id)), ("content", .string(token.content.text)), ("single_word", .bool(token.singleWord)),
      ("lstrip", .bool(token.leftStrip)), ("rstrip", .bool(token.rightStrip)), ("normalized", .bool(token.normalized)),
      ("special", .bool(token.special)),
    ])
  }
  let vocabulary = JSON.object(tokens.map { ($0.0, .number($0.1)) })
  return ["added_tokens": .array(entries), "model": ["type": "WordLevel", "vocab": vocabulary]]
}

func files(_ contents: [String: JSON]) throws -> TokenizerFiles {
  try TokenizerFiles(files: contents.mapValues { Array($0.text().utf8) })
}

/// A model whose tokens have the ids 0, 1, 2 ... in the order given, and just as many rows unless said otherwise.
func model(
  _ name: String, _ tokens: [String], added: [AddedToken] = [], rows: Int? = nil, configuration: JSON = [:]
) throws -> TokenizedModel {
  let tokenizer = wordLevel(Array(zip(tokens, 0...)), added: added)
  return try TokenizedModel(
    name: name, files: files(["tokenizer.json": tokenizer, "tokenizer_config.json": configuration]),
    embeddingRows: rows ?? tokens.count + added.count)
}

/// An embedding: rows of values.
typealias Rows = [[Double]]

/// What a plan makes of the models' embeddings, row by row.
func laidOut(_ plan: RowPlan, embeddings: [Rows]) -> Rows {
  var rows: [[Double]?] = []
  for run in plan.runs {
    for offset in 0..<run.output.count {
      switch run.source {
      case .rows(let model, let first): rows.append(embeddings[model][first + offset])
      case .mean(let sources): rows.append(mean(sources.map { embeddings[$0.model][$0.row] }))
      case .zero: rows.append(embeddings[0][0].map { _ in 0 })
      case .average: rows.append(nil)
      }
    }
  }
  guard rows.contains(where: { $0 == nil }) else { return rows.compactMap { $0 } }
  let average = mean(rows.compactMap { $0 })
  return rows.map { $0 ?? average }
}

func mean(_ rows: Rows) -> [Double] {
  guard let first = rows.first else { return [] }
  return first.indices.map { column in rows.reduce(0) { $0 + $1[column] } / Double(rows.count) }
}
