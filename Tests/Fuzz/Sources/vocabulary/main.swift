import Driver
import EspalierBasics
import EspalierTokenizers

/// Whatever vocabulary is read can be united with another one, and what is written then has the plan's vocabulary.
_ = fuzz { data, count in
  let bytes = Array(UnsafeBufferPointer(start: data, count: count))
  let small = Array(#"{"a":0,"b":1}"#.utf8)
  guard let files = try? TokenizerFiles(files: ["tokenizer.json": bytes]),
    let model = try? TokenizedModel(name: "fuzzed", files: files, embeddingRows: 8),
    let other = try? TokenizedModel(
      name: "other", files: TokenizerFiles(files: ["vocab.json": small]), embeddingRows: 2),
    let plan = try? VocabularyPlan(models: [model, other], base: nil, options: TokenizerOptions(padToMultipleOf: 3))
  else { return 0 }
  let written = try? Vocabulary(TokenizerFiles(files: plan.files.contents))
  precondition(written?.agrees(with: plan.vocabulary) == true)
  precondition(plan.rowPlans.allSatisfy { $0?.rows == plan.rows })
  return 0
}
