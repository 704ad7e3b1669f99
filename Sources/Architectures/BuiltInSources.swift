// The families as bytes inside the program: a static binary runs alone, without a resource folder beside it.
// A new family is one file in `Families/` and one line here; a test compares the two.
extension Architecture {
  static let sources: [(name: String, bytes: [UInt8])] = [
    ("gpt2", PackageResources.gpt2_json),
    ("llama", PackageResources.llama_json),
    ("mistral", PackageResources.mistral_json),
    ("qwen2", PackageResources.qwen2_json),
  ]
}
